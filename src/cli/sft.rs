//! `wgpt sft`

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Shared, terminal, training};
use crate::{
    Error, Result,
    gpu::Gpu,
    interchange::{self, Language},
    io::checkpoint,
    model::{Config, Gpt},
    optim::{AdamW, Schedule},
    text::conversations::Found,
    train::{
        Settings, run,
        sft::{Data, Sft},
        stage::{Stage, Summary},
        trainer::Trainer,
    },
};

/// Teach a model to answer, by example conversations
#[derive(Debug, Args)]
#[command(after_help = "A line of the data is one conversation:
  {\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"Hello!\"}]}
Roles are system (first only), user and assistant. The loss counts what the assistant says and the token that ends it.
Conversations are packed into rows of --context tokens and do not see each other. What cannot be used is left out,
counted and explained.

Examples:
  wgpt sft --model runs/shakespeare --data chats.jsonl --out runs/talker
  wgpt sft --model model.gguf --data chats.jsonl --epochs 2 --lr 2e-5 --context 512
  wgpt sft --data chats.jsonl --out runs/talker --resume
  wgpt chat runs/talker")]
pub(crate) struct Arguments {
    /// What to start from: run or checkpoint folder, Hugging Face folder, or GGUF file (not with --resume)
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    model: Option<PathBuf>,
    /// Conversations, one JSON object per line
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder of the run [default: runs/ and the data's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How often every conversation is learned from
    #[arg(long, default_value_t = 3)]
    epochs: usize,
    /// Steps, instead of --epochs
    #[arg(long)]
    steps: Option<u64>,
    /// Rows per micro-batch
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Micro-batches per step
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Tokens per row [default: the model's context, at most 1024]
    #[arg(long)]
    context: Option<usize>,
    /// Highest learning rate
    #[arg(long, default_value_t = 5e-5)]
    lr: f32,
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
    /// Share of the conversations that is held out
    #[arg(long, default_value_t = 0.05)]
    val_fraction: f64,
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
    resume: bool,
}

#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    summary: Summary,
    conversations: usize,
    left_out: Vec<Found>,
    truncated: usize,
    /// Tokens of the conversations, and those that are learned.
    tokens: usize,
    learned_tokens: usize,
}

impl Arguments {
    fn out(&self) -> PathBuf {
        let name = self.data.file_stem().map_or_else(|| "sft".into(), |stem| stem.to_string_lossy().into_owned());
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(name))
    }

    /// What the user said about a model of this shape, as far as the data need not be known.
    fn settings(&self, config: Config) -> Result<Settings> {
        let recipe = Settings::fine_tuning(config);
        let (longest, context) = (recipe.config.context, self.context.unwrap_or(recipe.context));
        if context < 2 || context > longest {
            return Err(Error::Usage(format!("--context {context}: give 2 to {longest}, the model's context")));
        }
        if self.epochs == 0 {
            return Err(Error::Usage("--epochs 0: give at least 1".to_string()));
        }
        if !(0.0..1.0).contains(&self.val_fraction) {
            return Err(Error::Usage(format!("--val-fraction {}: give 0 or more and less than 1", self.val_fraction)));
        }
        let schedule = Schedule { lr: self.lr, min_lr: self.min_lr.unwrap_or(self.lr / 10.0), ..recipe.schedule };
        let settings = Settings {
            batch: self.batch,
            accumulate: self.accumulate,
            context,
            schedule,
            optimizer: AdamW { weight_decay: self.weight_decay, clip: self.clip, ..recipe.optimizer },
            dropout: self.dropout,
            seed: self.seed,
            val_fraction: self.val_fraction,
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

    /// Steps and what depends on them.
    fn schedule(&self, settings: Settings, steps: u64, data: u64) -> Result<Settings> {
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

    /// The trainer: the base model's weights, or where the run in `out` stopped.
    fn trainer(&self, shared: &Shared, gpu: &Gpu, base: &Path, settings: &Settings) -> Result<(Trainer, Option<f64>)> {
        if self.resume {
            let (trainer, _, state) = run::resume(gpu, base)?;
            settings.agrees_with(&state.settings)?;
            shared.say(format_args!("resuming {} after step {}", base.display(), state.step));
            return Ok((trainer, state.best_val_loss));
        }
        let model = Gpt::from_source(gpu, &*interchange::open(base)?)?;
        Ok((Trainer::new(gpu, model, settings)?, None))
    }
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let out = arguments.out();
    if !arguments.resume && checkpoint::resolve(&out).is_ok() {
        let reason = "already holds a run; add --resume to go on with it, or choose another --out";
        return Err(Error::checkpoint(&out, reason));
    }
    let base = match &arguments.model {
        Some(model) if !arguments.resume => model.clone(),
        _ => out.clone(),
    };
    // Everything that can be wrong with the input is found before a GPU is opened or a file written.
    let settings = arguments.settings(interchange::open(&base)?.config().clone())?;
    let Language { tokenizer, conventions } = Language::open(&base)?;
    let language = Language { conventions: conventions.taught(&tokenizer)?, tokenizer };
    let bar = terminal::bar(0, shared.quiet);
    let data = Data::load(&arguments.data, &language, settings.context, |line| {
        bar.set_message(format!("reading conversations, line {line}"));
    })?;
    bar.finish_and_clear();
    data.remarks().iter().for_each(|remark| shared.say(format_args!("{remark}")));
    let Data { examples, mistakes, truncated } = data;
    let (conversations, tokens, learned_tokens) = (examples.len(), examples.tokens(), examples.said());
    let fingerprint = examples.fingerprint();
    let mut task = Sft::new(examples, &language, &settings);
    let steps = arguments.steps.unwrap_or_else(|| task.steps(&settings, arguments.epochs));
    let settings = arguments.schedule(settings, steps, fingerprint)?;

    let gpu = shared.open().await?;
    let (trainer, best_val_loss) = arguments.trainer(shared, &gpu, &base, &settings)?;
    std::fs::create_dir_all(&out).map_err(Error::io(&out, "create"))?;
    shared.say(format_args!(
        "{} parameters, {conversations} conversations of {tokens} tokens, {learned_tokens} of them to learn, {steps} \
         steps of {} rows of {} -> {}",
        trainer.model.size(),
        settings.batch * settings.accumulate,
        settings.context,
        out.display()
    ));
    let stop = training::stop_on_interrupt();
    let mut stage = Stage { out: &out, settings, task, language, trainer, best_val_loss, stop: &stop };
    let summary = training::run(shared, &gpu, &mut stage).await?;
    let (left_out, truncated) = (mistakes.found(), truncated.0);
    let output = Output { summary, conversations, left_out, truncated, tokens, learned_tokens };
    shared.result(&output, || {
        format!(
            "{}\nthe run is in {}: checkpoint, metrics.jsonl, loss.svg\ntry: wgpt chat {}",
            training::words(&output.summary),
            out.display(),
            out.display()
        )
    })
}
