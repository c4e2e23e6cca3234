//! `wgpt reward`

mod data;
mod score;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Shared,
    options::LoraArguments,
    output,
    ranks::{self, RankArguments},
    training,
};
use wgpt::{
    Error, Result,
    error::counted,
    gpu::Gpu,
    interchange::{self, TextCodec, load},
    io::atomic,
    io::checkpoint,
    model::{
        Config,
        heads::{ScalarHead, Start},
    },
    optim::{AdamW, Schedule},
    parallel::Group,
    train::{
        Settings,
        reward::{Data, Evaluation, Normalised, Reader, Recipe, Reward},
        settings::Common,
        state,
        supervised::{Summary, Supervised},
        trainer::Trainer,
    },
};

/// Train a reward model on preferences
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "A reward model is a language model that outputs one number at the end of an answer. It learns from ratings of
`wgpt rate`, or from JSONL lines:
  {\"prompt\": P, \"chosen\": A, \"rejected\": B}
  {\"prompt\": P, \"answers\": [A, B, C, D], \"best\": 0}
  {\"prompt\": P, \"answer\": A, \"score\": 4}
Accuracy and calibration are measured on held-out prompts. At the end rewards are scaled to mean 0 and standard
deviation 1 over answers of the training part, or over those of --normalise-on, ideally samples of the model that PPO will
start from. The run's folder holds evaluation.json and calibration.svg beside the checkpoint.

Examples:
  wgpt reward --model runs/talker --feedback feedback.sqlite --out runs/judge
  wgpt reward --model model.gguf --data pairs.jsonl --lora-rank 16 --context 512
  wgpt reward --data pairs.jsonl --out runs/judge --resume
  wgpt reward score --model runs/judge --data answers.jsonl"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: TrainArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Score(score::Arguments),
}

#[derive(Debug, Args)]
struct TrainArguments {
    /// Model to start from: run or checkpoint folder, Hugging Face folder, or GGUF file (not with --resume)
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    model: Option<PathBuf>,
    #[command(flatten)]
    data: data::DataArguments,
    /// Folder of the run [default: runs/ and the data's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    lora: LoraArguments,
    /// Number of passes over the comparisons
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Steps, instead of --epochs
    #[arg(long)]
    steps: Option<u64>,
    /// Comparisons per step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Maximum number of tokens in a text; longer ones lose the front of their prompt [default: the model's context, at
    /// most 1024]
    #[arg(long)]
    context: Option<usize>,
    /// Maximum number of tokens in a micro-batch; fewer need less memory
    #[arg(long, default_value_t = 4096)]
    tokens: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 5e-5)]
    lr: f32,
    /// Final learning rate
    #[arg(long, default_value_t = 0.0)]
    min_lr: f32,
    /// Steps of warm-up
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Weight decay
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f32,
    /// Largest gradient norm; 0 for no limit
    #[arg(long, default_value_t = 1.0)]
    clip: f32,
    /// Probability of dropping an activation
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Margin by which the chosen answer of a pair should lead
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    margin: f32,
    /// Coefficient of (r_chosen + r_rejected)^2, which keeps the rewards of pairs near 0
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    centring: f32,
    /// Seed of the head, the order and the masks
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Share of the prompts to hold out
    #[arg(long, default_value_t = 0.1)]
    val_fraction: f64,
    /// Maximum number of batches of comparisons per validation
    #[arg(long, default_value_t = 50)]
    val_batches: usize,
    /// Steps between validations [default: a quarter of the steps]
    #[arg(long)]
    val_every: Option<u64>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 100)]
    save_every: u64,
    /// Checkpoints kept
    #[arg(long, default_value_t = 1)]
    keep: usize,
    /// Recompute blocks in the backward pass: less memory, more time
    #[arg(long)]
    checkpoint_activations: bool,
    /// Continue from the newest checkpoint in --out
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    ranks: RankArguments,
}

#[derive(Serialize)]
struct Output<'a> {
    stage: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
    objective: wgpt::train::reward::Objective,
    comparisons: usize,
    held_out: usize,
    prompts: usize,
    truncated: usize,
    left_out: u64,
    /// Held-out accuracy, repeated here where programs look first.
    accuracy: Option<f64>,
    evaluation: Option<&'a Evaluation>,
    normalised: Option<Normalised>,
}

impl TrainArguments {
    fn out(&self) -> PathBuf {
        let name =
            self.data.path().file_stem().map_or_else(|| "reward".into(), |stem| stem.to_string_lossy().into_owned());
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{name}-reward")))
    }

    fn context(&self, config: &Config) -> Result<usize> {
        let (longest, context) = (config.context, self.context.unwrap_or(config.context.min(1024)));
        if context < 2 || context > longest {
            return Err(Error::Usage(format!("--context {context}: give 2 to {longest}, the model's context")));
        }
        Ok(context)
    }

    /// The user's settings for a model of this shape, as far as they do not depend on the data.
    fn settings(&self, config: Config, context: usize, recipe: Recipe) -> Result<Settings> {
        let base = Settings::reward(config, recipe);
        let counts = [("--epochs", self.epochs), ("--tokens", self.tokens)];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::Usage(format!("{name} 0: give at least 1")));
        }
        if !(0.0..1.0).contains(&self.val_fraction) {
            return Err(Error::Usage(format!("--val-fraction {}: give 0 or more and less than 1", self.val_fraction)));
        }
        for (name, value) in [("--margin", self.margin), ("--centring", self.centring)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Usage(format!("{name} {value}: give 0 or more")));
            }
        }
        let Schedule { steps, decay, .. } = base.schedule;
        let settings = Settings {
            batch: self.batch,
            context,
            schedule: Schedule { lr: self.lr, min_lr: self.min_lr, warmup: self.warmup, steps, decay },
            common: Common {
                optimizer: AdamW { weight_decay: self.weight_decay, clip: self.clip, ..base.common.optimizer },
                seed: self.seed,
                save_every: self.save_every,
                keep: self.keep,
                checkpoint_activations: self.checkpoint_activations,
            },
            dropout: self.dropout,
            val_fraction: self.val_fraction,
            val_batches: self.val_batches,
            val_every: self.val_every.unwrap_or(1),
            ..base
        };
        settings.validate()?;
        Ok(settings)
    }

    /// Sets the number of steps and what depends on it.
    fn schedule(&self, settings: Settings, steps: u64, data: u64) -> Result<Settings> {
        let settings = Settings {
            schedule: Schedule { steps, ..settings.schedule },
            val_every: self.val_every.unwrap_or_else(|| steps.div_ceil(4).max(1)),
            data: Some(format!("{data:016x}")),
            ..settings
        };
        settings.validate()?;
        Ok(settings)
    }

    /// The trainer: the base model with a fresh head, or the state in which the run in `out` stopped.
    fn trainer(&self, shared: &Shared, gpu: &Gpu, base: &Path, settings: &Settings) -> Result<(Trainer, Option<f64>)> {
        let lora = self.lora.config()?;
        if self.resume {
            let (trainer, _, state) = state::resume(gpu, base)?;
            settings.agrees_with(&state.settings)?;
            let earlier = trainer.model.lora().map(|lora| &lora.config);
            if lora.is_some() && lora.as_ref() != earlier {
                let reason = "the run was started with other LoRA options; leave them away, or use another --out";
                return Err(Error::Config(format!("--resume: {reason}")));
            }
            shared.say(format_args!("resuming {} after step {}", base.display(), state.step));
            return Ok((trainer, state.best_val_loss));
        }
        let bar = output::bar(0, shared.quiet);
        bar.set_message("loading");
        let model = load::tunable(gpu, base, lora.as_ref(), settings.common.seed, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        let head = ScalarHead::new(gpu, model.config().width, Start::Normal(settings.common.seed))?;
        Ok((Trainer::with_head(gpu, model, Some(head), settings)?, None))
    }
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Some(Command::Score(arguments)) => score::run(shared, arguments).await,
        None => {
            let arguments = &arguments.train;
            ranks::run_on_ranks(shared, &arguments.ranks, async |shared, group| train(shared, group, arguments).await)
                .await
        }
    }
}

async fn train(shared: &Shared, group: &Group, arguments: &TrainArguments) -> Result<()> {
    let out = arguments.out();
    if !arguments.resume && checkpoint::resolve(&out).is_ok() {
        let reason = "already holds a run; add --resume to go on with it, or choose another --out";
        return Err(Error::checkpoint(&out, reason));
    }
    let base = match &arguments.model {
        Some(model) if !arguments.resume => model.clone(),
        _ => out.clone(),
    };
    // All errors in the input are found before a GPU is opened or a file written.
    arguments.lora.config()?;
    let config = interchange::open(&base)?.config().clone();
    let context = arguments.context(&config)?;
    let reader = Reader::new(&TextCodec::open(&base)?, context)?;
    let (data, left_out) = arguments.data.load(shared, &reader)?;
    let reference = arguments.data.reference(shared, &reader)?;
    let TrainArguments { margin, centring, epochs, tokens, .. } = *arguments;
    let recipe = Recipe { objective: data.objective, margin, centring, epochs, tokens };
    let settings = arguments.settings(config, context, recipe)?;
    let fingerprint = data.fingerprint();
    let Data { objective, comparisons, prompts, truncated, .. } = data;
    let task = Reward::new(comparisons, &settings, recipe, reference)?;
    let steps = arguments.steps.unwrap_or_else(|| task.steps(&settings));
    let settings = arguments.schedule(settings, steps, fingerprint)?;
    let (comparisons, held_out) = task.sizes();

    let gpu = shared.open().await?;
    let (mut trainer, best_val_loss) = arguments.trainer(shared, &gpu, &base, &settings)?;
    trainer.join(group)?;
    atomic::private_folder(&out)?;
    shared.say(format_args!(
        "{} trained parameters, {} of {} ({objective:?}), {held_out} held out, {} of {} -> {}",
        trainer.model.size(),
        counted(comparisons, "comparison"),
        counted(prompts, "prompt"),
        counted(steps, "step"),
        settings.batch,
        out.display()
    ));
    let stop = training::stop_on_interrupt(training::SAVES);
    let codec = reader.codec().clone();
    let mut stage = Supervised { out: &out, settings, task, codec, trainer, best_val_loss, stop: &stop };
    let summary = training::run(shared, &gpu, &mut stage).await?;
    let evaluation = stage.task.evaluation.as_ref();
    let output = Output {
        stage: "reward",
        summary: &summary,
        objective,
        comparisons,
        held_out,
        prompts,
        truncated,
        left_out,
        accuracy: evaluation.and_then(|evaluation| evaluation.accuracy),
        evaluation,
        normalised: stage.task.normalised,
    };
    shared.result(&output, || {
        format!(
            "{}{}\nthe run is in {}: checkpoint, metrics.jsonl, loss.svg, evaluation.json, calibration.svg\n\
             try: wgpt reward score --model {} --data answers.jsonl",
            training::words(&summary),
            evaluation.map_or(String::new(), words),
            out.display(),
            out.display()
        )
    })
}

/// An evaluation in words.
fn words(found: &Evaluation) -> String {
    let Evaluation { accuracy: Some(accuracy), interval: Some((low, high)), chance: Some(chance), .. } = *found else {
        return String::new();
    };
    let (correct, of) = (found.correct, found.comparisons);
    let error = found.calibration_error.map_or(String::new(), |error| format!(", calibration error {error:.3}"));
    let log_loss = found.log_loss.map_or(String::new(), |loss| format!(", log-loss {loss:.4}"));
    format!(
        "\nheld out: {correct} of {of} in the right order, {:.1} % (95 %: {:.1} to {:.1}; guessing: {:.1}){log_loss}{error}",
        100.0 * accuracy,
        100.0 * low,
        100.0 * high,
        100.0 * chance
    )
}
