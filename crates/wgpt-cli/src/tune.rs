//! The options of every command that tunes a model, and how such a run begins.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Shared, lora::LoraArguments, ranks::RankArguments, terminal};
use wgpt::{
    Error, Result,
    gpu::Gpu,
    interchange::load,
    io::checkpoint,
    model::{Config, lora::LoraConfig},
    optim::{AdamW, Schedule},
    train::{Settings, state, trainer::Trainer},
};

/// What is tuned, and how.
#[derive(Debug, Args)]
pub(super) struct TuneArguments {
    /// What to start from: run or checkpoint folder, Hugging Face folder, or GGUF file (not with --resume)
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub model: Option<PathBuf>,
    /// Folder of the run [default: runs/ and the data's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Steps, instead of --epochs
    #[arg(long)]
    pub steps: Option<u64>,
    /// Micro-batches per step
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Most tokens per row [default: the model's context, at most 1024]
    #[arg(long)]
    context: Option<usize>,
    /// Last learning rate [default: a tenth of --lr]
    #[arg(long)]
    min_lr: Option<f32>,
    /// Steps of warm-up [default: a tenth of the steps, at most 100]
    #[arg(long)]
    warmup: Option<u64>,
    /// Weight decay
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f32,
    /// Largest gradient norm; 0 for no limit
    #[arg(long, default_value_t = 1.0)]
    clip: f32,
    /// Probability of dropping an activation
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Seed of order, masks and samples
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Most batches per validation
    #[arg(long, default_value_t = 50)]
    val_batches: usize,
    /// Steps between validations [default: a quarter of the steps]
    #[arg(long)]
    val_every: Option<u64>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 250)]
    save_every: u64,
    /// Checkpoints kept
    #[arg(long, default_value_t = 1)]
    keep: usize,
    /// Recompute blocks in the backward pass: less memory, more time
    #[arg(long)]
    checkpoint_activations: bool,
    /// Most tokens of the sample at each validation; 0 for none
    #[arg(long, default_value_t = 80)]
    sample_tokens: usize,
    /// Go on from the newest checkpoint in --out
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    lora: LoraArguments,
    #[command(flatten)]
    pub ranks: RankArguments,
}

/// The options whose defaults are the command's own.
pub(super) struct Defaults {
    pub batch: usize,
    pub lr: Option<f32>,
    pub val_fraction: f64,
    pub epochs: usize,
}

impl TuneArguments {
    /// The adapters that were asked for.
    pub fn lora(&self) -> Result<Option<LoraConfig>> {
        self.lora.config()
    }

    /// The run's folder, by default named after `data`.
    pub fn out(&self, data: &Path) -> PathBuf {
        // The standard input has no name.
        let stem = data.file_stem().filter(|stem| *stem != "-");
        let name = stem.map_or_else(|| "tuned".into(), |stem| stem.to_string_lossy().into_owned());
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// What the run in `out` starts from: a model, or the run itself.
    pub fn base(&self, out: &Path) -> Result<PathBuf> {
        if !self.resume && checkpoint::resolve(out).is_ok() {
            let reason = "already holds a run; add --resume to go on with it, or choose another --out";
            return Err(Error::checkpoint(out, reason));
        }
        Ok(match &self.model {
            Some(model) if !self.resume => model.clone(),
            _ => out.to_path_buf(),
        })
    }

    /// What the user said about a model of this shape, as far as the data need not be known. `recipe` has the rest.
    pub fn settings(&self, config: &Config, recipe: Settings, own: &Defaults) -> Result<Settings> {
        let (longest, context) = (config.context, self.context.unwrap_or(recipe.context));
        if context < 2 || context > longest {
            return Err(Error::Usage(format!("--context {context}: give 2 to {longest}, the model's context")));
        }
        if own.epochs == 0 {
            return Err(Error::Usage("--epochs 0: give at least 1".to_string()));
        }
        if !(0.0..1.0).contains(&own.val_fraction) {
            return Err(Error::Usage(format!("--val-fraction {}: give 0 or more and less than 1", own.val_fraction)));
        }
        let lr = own.lr.unwrap_or(recipe.schedule.lr);
        let schedule = Schedule { lr, min_lr: self.min_lr.unwrap_or(lr / 10.0), ..recipe.schedule };
        let settings = Settings {
            batch: own.batch,
            accumulate: self.accumulate,
            context,
            schedule,
            optimizer: AdamW { weight_decay: self.weight_decay, clip: self.clip, ..recipe.optimizer },
            dropout: self.dropout,
            seed: self.seed,
            val_fraction: own.val_fraction,
            val_batches: self.val_batches,
            val_every: self.val_every.unwrap_or(1),
            save_every: self.save_every,
            keep: self.keep,
            checkpoint_activations: self.checkpoint_activations,
            sample_tokens: self.sample_tokens,
            ..recipe
        };
        settings.validate()?;
        Ok(settings)
    }

    /// Steps and what depends on them; `data` is a hash of what is learned.
    pub fn schedule(&self, settings: Settings, steps: u64, data: u64) -> Result<Settings> {
        let warmup = self.warmup.unwrap_or((steps / 10).min(100));
        let settings = Settings {
            schedule: Schedule { steps, warmup, ..settings.schedule },
            val_every: self.val_every.unwrap_or_else(|| steps.div_ceil(4).max(1)),
            data: Some(format!("{data:016x}")),
            ..settings
        };
        settings.validate()?;
        Ok(settings)
    }

    /// The trainer: the base model's weights (and fresh adapters, if there are to be any), or where the run stopped.
    pub fn trainer(
        &self,
        shared: &Shared,
        gpu: &Gpu,
        base: &Path,
        settings: &Settings,
    ) -> Result<(Trainer, Option<f64>)> {
        if self.resume {
            let (trainer, _, state) = state::resume(gpu, base)?;
            settings.agrees_with(&state.settings)?;
            shared.say(format_args!("resuming {} after step {}", base.display(), state.step));
            return Ok((trainer, state.best_val_loss));
        }
        let bar = terminal::bar(0, shared.quiet);
        bar.set_message("parameters loaded");
        let model = load::tunable(gpu, base, settings.lora.as_ref(), settings.seed, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok((Trainer::new(gpu, model, settings)?, None))
    }
}
