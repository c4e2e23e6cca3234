//! The parts shared by `wgpt ppo` and `wgpt grpo`: options, and the start, display and end of a run.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{
    Shared, hints,
    judges::NamedJudge,
    options::LoraArguments,
    output,
    ranks::{self, RankArguments},
    training,
};
use wgpt::{
    Error, Result,
    error::counted,
    gpu::Gpu,
    interchange::{self, TextCodec, adapter},
    io::{atomic, checkpoint},
    optim::AdamW,
    parallel::Group,
    train::{
        ppo::{
            Ppo, Progress,
            prompts::Prompts,
            run::{self, Run, Summary},
            settings::{Algorithm, Limits, Settings},
        },
        rlhf::{
            kl::KlController,
            response::{EARLIEST_STOP, MissingStop},
        },
        run::{Event, Sample, StepReport},
        settings::Common,
    },
};

/// Options of both commands.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The initial policy, which is also the reference: run or checkpoint folder, Hugging Face folder, or GGUF file
    /// (not with --resume)
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    model: Option<PathBuf>,
    /// Prompts: JSON lines, a JSON list or a Parquet table, or a text whose windows are prompts
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Judge: lexicon, lexicon:FILE, reward:RUN, script:COMMAND, exact, contains, length:CHARACTERS, or pattern:TEXT;
    /// with reward:RUN,RUN,... several reward models judge together
    #[arg(long, value_name = "JUDGE")]
    judge: String,
    /// How much an answer loses when several reward models disagree about it: their variance times this is subtracted
    /// from their mean [default: 0.5]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    caution: Option<f32>,
    /// A second judge, which scores the same answers and teaches nothing: by what they are really for. The run stops if
    /// its scores fall while those of --judge rise
    #[arg(long, value_name = "JUDGE")]
    gold: Option<String>,
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of steps; each samples a batch and trains on it
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Episodes per step
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Updates per pass over a batch
    #[arg(long, default_value_t = 1)]
    minibatches: usize,
    /// Micro-batches per update: less memory, the same result
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Initial learning rate, which decreases to 0
    #[arg(long, default_value_t = 1e-5)]
    lr: f32,
    /// Largest gradient norm; 0 for no limit
    #[arg(long, default_value_t = 0.0)]
    clip_norm: f32,
    /// Clip range of the policy ratio, 1 +- this
    #[arg(long, default_value_t = 0.2)]
    clip: f32,
    /// Temperature of sampling and of all log-probabilities
    #[arg(long, default_value_t = 0.7)]
    temperature: f32,
    /// Maximum number of tokens in a prompt, or number of tokens in a window of a text [default: at most 64, and as
    /// many as the context has room for]
    #[arg(long)]
    prompt_tokens: Option<usize>,
    /// Maximum number of tokens in an answer
    #[arg(long, default_value_t = 24)]
    max_tokens: usize,
    /// Token that ends an answer, as text [default: according to the model's files]
    #[arg(long, value_name = "TEXT")]
    stop: Option<String>,
    /// Position in an answer from which that token ends it [default: 0 for chat models, otherwise 16]
    #[arg(long)]
    earliest_stop: Option<usize>,
    /// Score of an answer without an end [default of wgpt ppo: -1 for chat models and with --stop]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true, conflicts_with = "missing_stop_penalty")]
    missing_stop_score: Option<f32>,
    /// Penalty for an answer without an end, instead of a fixed score
    #[arg(long, value_name = "COST")]
    missing_stop_penalty: Option<f32>,
    /// Clip scores to plus and minus this
    #[arg(long, default_value_t = 10.0)]
    reward_clip: f32,
    /// Stop if the KL exceeds this for three steps; 0 for no limit [default: five times --target-kl, otherwise 100]
    #[arg(long)]
    max_kl: Option<f64>,
    /// Stop if more than this share of the answers' sequences of four tokens is repeated, for three steps
    #[arg(long, default_value_t = 0.6)]
    max_repetition: f64,
    /// Stop if answers are shorter than this share of the first ones, for three steps
    #[arg(long, default_value_t = 0.2)]
    min_length: f64,
    /// Recompute blocks in the backward pass: less memory, more time
    #[arg(long)]
    checkpoint_activations: bool,
    /// Seed of prompts, samples and adapters
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 10)]
    save_every: u64,
    /// Checkpoints kept
    #[arg(long, default_value_t = 1)]
    keep: usize,
    /// Steps between samples; 0 for none
    #[arg(long, default_value_t = 10)]
    sample_every: u64,
    #[command(flatten)]
    lora: LoraArguments,
    /// Continue from the newest checkpoint in --out
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    ranks: RankArguments,
}

/// The settings that the two commands set themselves.
pub(super) struct Recipe {
    pub algorithm: Algorithm,
    pub epochs: usize,
    pub controller: KlController,
    /// Number of samples of the reference over which scores are normalised.
    pub normalise: usize,
}

#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    summary: Summary,
    out: String,
    prompts: usize,
    left_out: usize,
}

impl Arguments {
    /// The user's settings for a model of this context.
    fn settings(&self, recipe: &Recipe, codec: &TextCodec, context: usize, base: String) -> Result<Settings> {
        let chats = codec.conventions.template.is_some();
        let stops = match &self.stop {
            None => codec.conventions.stops.clone(),
            Some(text) => match codec.tokenizer.encode_special(text) {
                Ok(ids) if ids.len() == 1 => ids,
                _ => return Err(Error::Usage(format!("--stop {text:?} is not one token of this model"))),
            },
        };
        let missing_stop = match (self.missing_stop_score, self.missing_stop_penalty) {
            (Some(score), _) => MissingStop::Score(score),
            (_, Some(penalty)) => MissingStop::Penalty(penalty),
            // A continued text is cut off by --max-tokens; it has no end to reach.
            _ if !(chats || self.stop.is_some()) => MissingStop::Allowed,
            _ if stops.is_empty() || matches!(recipe.algorithm, Algorithm::Grpo { .. }) => MissingStop::Allowed,
            _ => MissingStop::Score(-1.0),
        };
        let most = match recipe.controller {
            KlController::Adaptive { target, .. } => 5.0 * target,
            KlController::Fixed { .. } => 100.0,
        };
        let plain = Settings::recipe(recipe.algorithm);
        let settings = Settings {
            steps: self.steps,
            batch: self.batch,
            epochs: recipe.epochs,
            minibatches: self.minibatches,
            accumulate: self.accumulate,
            lr: self.lr,
            common: Common {
                optimizer: AdamW { clip: self.clip_norm, ..plain.common.optimizer },
                seed: self.seed,
                save_every: self.save_every,
                keep: self.keep,
                checkpoint_activations: self.checkpoint_activations,
            },
            clip: self.clip,
            temperature: self.temperature,
            prompt_tokens: self.prompt_tokens.unwrap_or(context.saturating_sub(self.max_tokens).min(64)),
            max_tokens: self.max_tokens,
            stops,
            earliest_stop: self.earliest_stop.unwrap_or(if chats { 0 } else { EARLIEST_STOP }),
            missing_stop,
            reward_clip: self.reward_clip,
            controller: recipe.controller,
            normalise: recipe.normalise,
            sample_every: self.sample_every,
            limits: Limits {
                kl: self.max_kl.unwrap_or(most),
                repetition: self.max_repetition,
                length: self.min_length,
                ..Limits::default()
            },
            base,
            ..plain
        };
        settings.validate(context)?;
        Ok(settings)
    }
}

/// Runs the command.
pub(super) async fn run(shared: &Shared, arguments: &Arguments, recipe: &Recipe) -> Result<()> {
    ranks::run_on_ranks(shared, &arguments.ranks, async |shared, group| train(shared, group, arguments, recipe).await)
        .await
}

async fn train(shared: &Shared, group: &Group, arguments: &Arguments, recipe: &Recipe) -> Result<()> {
    let out = &arguments.out;
    if !arguments.resume && checkpoint::resolve(out).is_ok() {
        let reason = "already holds a run; add --resume to go on with it, or choose another --out";
        return Err(Error::checkpoint(out, reason));
    }
    // All errors in the input are found before a GPU is opened or a file written.
    let state = arguments.resume.then(|| run::state(out)).transpose()?;
    let base = base(arguments, state.as_ref())?;
    let (source, codec) = (interchange::open(&base)?, TextCodec::open(&base)?);
    let (context, fingerprint) = (source.config().context, adapter::fingerprint(&*source)?);
    drop(source);
    let judge = NamedJudge::read("judge", &arguments.judge, arguments.caution)?;
    let gold = arguments.gold.as_ref().map(|gold| NamedJudge::read("gold", gold, None)).transpose()?;
    let settings = arguments.settings(recipe, &codec, context, fingerprint)?;
    let prompts = Prompts::open(&arguments.prompts, &codec, settings.prompt_tokens, settings.common.seed)?;
    [Some(&judge), gold.as_ref()].into_iter().flatten().try_for_each(|judge| judge.suits(&prompts))?;
    prompts.remarks().iter().for_each(|remark| shared.say(format_args!("{remark}")));
    // Rows are padded to the longest prompt.
    let fingerprint = format!("{:016x}", prompts.fingerprint());
    let settings =
        Settings { prompt_tokens: prompts.longest(), prompts: fingerprint, judge: judge.name.clone(), ..settings };
    if let Some(state) = &state {
        settings.agrees_with(&state.settings)?;
    }

    let gpu = shared.open().await?;
    let judge = judge.open(&gpu)?;
    let gold = gold.map(|gold| gold.open(&gpu)).transpose()?;
    let value = matches!(recipe.algorithm, Algorithm::Ppo { .. });
    let (mut learner, progress) = match state {
        Some(state) => {
            shared.say(format_args!("resuming {} after step {}", out.display(), state.progress.step));
            (run::resume(&gpu, out, &state, value)?, state.progress)
        }
        None => {
            let learner = run::begin(&gpu, &base, arguments.lora.config()?.as_ref(), &settings, value)?;
            (learner, Progress::new(&settings))
        }
    };
    learner.join(group)?;
    atomic::private_folder(out)?;
    shared.say(format_args!(
        "{} parameters to train, {}, {} of {} of up to {} -> {}",
        learner.policy().size(),
        counted(prompts.count(), "prompt"),
        counted(settings.steps, "step"),
        counted(settings.batch, "answer"),
        counted(settings.max_tokens, "token"),
        out.display()
    ));
    let (count, left_out) = (prompts.count(), prompts.left_out.values().map(|(count, _)| count).sum());
    let ppo = Ppo { settings, learner, prompts, judge, gold, codec, progress };
    let base = std::path::absolute(&base).map_err(Error::io(&base, "find"))?;
    let stop = training::stop_on_interrupt(training::SAVES);
    let summary = show(shared, &gpu, Run { out, base, ppo, stop: &stop }).await?;
    let output = Output { summary, out: out.display().to_string(), prompts: count, left_out };
    shared.result(&output, || words(&output))
}

/// The path of the initial weights.
fn base(arguments: &Arguments, state: Option<&run::State>) -> Result<PathBuf> {
    match (&arguments.model, state) {
        (_, Some(state)) => Ok(state.base.clone()),
        // The checkpoint itself, because a run's newest checkpoint may change later.
        (Some(model), None) => Ok(checkpoint::resolve(model).unwrap_or_else(|_| PathBuf::from(model))),
        (None, None) => Err(Error::Usage("--model: give a model to start from".to_string())),
    }
}

/// Runs to the end with a progress bar.
pub(super) async fn show(shared: &Shared, gpu: &Gpu, run: Run<'_>) -> Result<Summary> {
    let bar = output::bar(run.ppo.settings.steps, shared.quiet);
    bar.set_position(run.ppo.progress.step);
    bar.reset_eta();
    let (quiet, out, group) = (shared.quiet, run.out, run.ppo.learner.group());
    let summary = run
        .run(|event| match event {
            Event::Compiling => bar.set_message("compiling kernels"),
            Event::Tuning(class, index, count) => bar.set_message(format!("tuning {}/{count}: {class}", index + 1)),
            Event::Preparing => bar.set_message("scoring the reference"),
            Event::Step(StepReport { step, seconds, numbers }) => {
                let (score, kl, beta) = (numbers.score, numbers.kl, numbers.beta);
                let gold = numbers.gold.map_or(String::new(), |gold| format!(", gold {gold:.3}"));
                let words = format!("score {score:.3}{gold}, KL {kl:.2}, beta {beta:.3}");
                bar.set_message(words.clone());
                bar.set_position(*step);
                // Without a terminal there is no bar, so an occasional line shows progress.
                if bar.is_hidden() && !quiet && step % 10 == 1 {
                    output::say(format_args!("step {step}: {words}, {seconds:.1} s"));
                }
            }
            Event::Sample(step, Sample { text, score }) if !quiet => {
                let text = output::harmless(text);
                let words = format!(
                    "--- after {}, score {:.2} ---\n{text}\n---",
                    counted(step, "step"),
                    score.unwrap_or(f32::NAN)
                );
                bar.suspend(|| output::say(words));
            }
            Event::Suspicious(cause) if !quiet => {
                let hint = hints::on_guard(cause);
                bar.suspend(|| output::say(format_args!("careful: {cause}; {hint}")));
            }
            _ => {}
        })
        .await;
    bar.finish_and_clear();
    ranks::keep_error(out, &group, &summary);
    shared.ended(gpu, summary)
}

fn words(Output { summary, out, .. }: &Output) -> String {
    let steps = match (&summary.first, &summary.last) {
        (Some(first), Some(last)) => format!(
            ": score {:.3} -> {:.3}, KL {:.2}, beta {:.3}, entropy {:.3} -> {:.3}; {:.1} s per step",
            first.score, last.score, last.kl, last.beta, first.entropy, last.entropy, summary.seconds_per_step
        ),
        _ => String::new(),
    };
    let stopped = if summary.stopped { " (stopped; go on with --resume)" } else { "" };
    let hint = Path::new(out).display();
    format!(
        "{}{steps}{stopped}\nthe run is in {out}: checkpoint, metrics.jsonl, curves.svg\ntry: wgpt chat {hint}",
        counted(summary.steps, "step")
    )
}
