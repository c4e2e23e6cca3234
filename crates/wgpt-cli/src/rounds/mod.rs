//! `wgpt loop`: rounds of ratings, reward models and PPO. The demo shares its parts.

pub(crate) mod answers;
pub(crate) mod gold;
pub(crate) mod overview;
mod ratings;
pub(crate) mod record;
mod stages;
pub(crate) mod train;

use std::{
    cell::OnceCell,
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    answers::AnswerArguments,
    gold::Gold,
    overview::Figures,
    ratings::Source,
    stages::{Loop, Stage},
    train::Recipe,
};
use super::{
    Shared,
    judges::{CAUTION, NamedJudge},
    training,
};
use wgpt::{
    Error, Result,
    error::counted,
    hash,
    interchange::{self, TextCodec, adapter},
    io::{atomic, metrics},
    report::timeline::{self, Answer, Chapter},
    train::ppo::prompts::{Prompt, Prompts},
};

/// About one in this many prompts is held out, if no file of held-out prompts is given.
const HELD_OUT: u64 = 6;

/// Number of answers that the report shows.
const SHOWN: usize = 8;

/// The page about all rounds, in the loop's folder.
pub(crate) const REPORT: &str = "report.html";

/// The record of what is done, in the loop's folder.
pub(crate) const RECORD: &str = "rounds.json";

/// Train a chat model in rounds: its answers are rated, reward models learn from the ratings, PPO learns from those
#[derive(Debug, Args)]
#[command(after_help = "In every round
  1. answers to each of --rated prompts are rated: two by a person at the terminal (people), or those and one to another
     prompt by a judge; or there is a file or database of ratings, which is read anew in each round;
  2. reward models learn from the ratings, starting from the reward models of the round before;
  3. PPO trains the model against them, close to the model of the round before.
Then the model answers the held-out prompts: no stage trains on these. The gold score is the mean score of the answers by
--gold, a judge that no model sees; with a judge for ratings it is that judge by default. A round ends early if the gold score
falls while the reward rises. With several reward models an answer is worth less about which they disagree. report.html has
gold score, reward, KL and accuracy of all rounds. Ctrl-C stops after a step; the same command with --resume goes on.

A judge is lexicon, lexicon:FILE, reward:RUN, script:COMMAND, exact, contains, length:CHARACTERS, or pattern:TEXT.

Examples:
  wgpt loop --model runs/demo/sft --prompts runs/demo/prompts.jsonl --ratings contains --lr 2e-4 --reward-lr 8e-4 \\
    --max-tokens 32
  wgpt loop --model model.gguf --prompts questions.jsonl --ratings people --rated 20
  wgpt loop --model runs/talker --prompts questions.jsonl --ratings pairs.jsonl --gold script:./score.py --reward-models 4
  wgpt chat runs/loop/ppo3")]
pub(crate) struct Arguments {
    /// The chat model to begin with: run or checkpoint folder, Hugging Face folder, or GGUF file
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Prompts: JSON lines, a JSON list or a Parquet table
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// Who rates: people, a file or database of ratings, or a judge
    #[arg(long, value_name = "people|FILE|JUDGE")]
    ratings: String,
    /// Judge of the answers to held-out prompts [default: the judge that rates, if one does]
    #[arg(long, value_name = "JUDGE")]
    gold: Option<String>,
    /// Prompts that are only asked, never trained on [default: about a sixth of --prompts]
    #[arg(long, value_name = "FILE")]
    held_out: Option<PathBuf>,
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "runs/loop")]
    out: PathBuf,
    /// Number of rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Prompts whose answers are rated in each round
    #[arg(long, default_value_t = 256)]
    rated: usize,
    /// Reward models of each round, which judge together
    #[arg(long, default_value_t = 1)]
    reward_models: usize,
    /// How much an answer loses when they disagree about it: their variance times this is subtracted from their mean
    /// [default: 0.5]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    caution: Option<f32>,
    /// Learning rate of the reward models
    #[arg(long, default_value_t = 5e-5)]
    reward_lr: f32,
    /// Passes over the ratings
    #[arg(long, default_value_t = 1)]
    reward_epochs: usize,
    /// Steps of PPO in each round
    #[arg(long, default_value_t = 20)]
    steps: u64,
    /// Answers per step
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Learning rate of PPO, which decreases to 0 in each round
    #[arg(long, default_value_t = 1e-5)]
    lr: f32,
    /// Target KL of a round in nats per answer
    #[arg(long, default_value_t = 6.0)]
    target_kl: f64,
    #[command(flatten)]
    answers: AnswerArguments,
    /// Seed of everything
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Continue the loop in --out where it stopped
    #[arg(long)]
    resume: bool,
}

impl Arguments {
    /// By how much the disagreement of several reward models counts.
    fn caution(&self) -> f32 {
        self.caution.unwrap_or(CAUTION)
    }

    fn recipe(&self) -> Recipe {
        let Self { reward_lr, reward_epochs, steps, batch, lr, target_kl, .. } = *self;
        let AnswerArguments { temperature, max_tokens, .. } = self.answers;
        Recipe {
            reward_batch: 16,
            reward_epochs,
            reward_lr,
            val_fraction: 0.1,
            batch,
            epochs: 4,
            steps,
            lr,
            beta: 0.1,
            target_kl,
            horizon: 2000.0,
            temperature,
            max_tokens,
            save_every: steps.div_ceil(10).max(1),
        }
    }
}

/// What was done, and its figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct StageResult {
    stage: String,
    seconds: f64,
    /// Mean held-out accuracy of the round's reward models.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    /// KL in nats per answer from the round's initial policy, over the last quarter of its steps; of the last step for a round
    /// that ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    kl: Option<f64>,
    /// Why the round ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gold: Option<Gold>,
    /// Mean reward of the answers by the last reward models.
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<f64>,
    /// The answers to the held-out prompts, and their gold scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scores: Vec<f64>,
    /// Their rewards by the last reward models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rewards: Vec<f32>,
}

#[derive(Serialize)]
struct Output<'a> {
    seconds: f64,
    report: String,
    model: String,
    stages: &'a [StageResult],
    /// Gain in gold score from the model before the first round to that after the last, over the same prompts.
    gain: Option<Gold>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let counts = [
        ("--rounds", arguments.rounds),
        ("--rated", arguments.rated),
        ("--reward-models", arguments.reward_models),
        ("--reward-epochs", arguments.reward_epochs),
    ];
    if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return Err(Error::Usage(format!("{name} 0: give at least 1")));
    }
    match arguments.caution {
        Some(_) if arguments.reward_models == 1 => {
            return Err(Error::Usage("--caution is for several reward models: give --reward-models 2 or more".into()));
        }
        Some(caution) if !(caution >= 0.0 && caution.is_finite()) => {
            return Err(Error::Usage(format!("--caution {caution}: give a number of 0 or more")));
        }
        _ => {}
    }
    if !(arguments.reward_lr > 0.0 && arguments.reward_lr.is_finite()) {
        return Err(Error::Usage(format!("--reward-lr {}: give a positive number", arguments.reward_lr)));
    }
    // All errors in the input are found before a GPU is opened or a file written.
    let source = Source::read(&arguments.ratings)?;
    let gold = arguments.gold.clone().or_else(|| source.is_judge().then(|| arguments.ratings.clone()));
    let codec = TextCodec::open(&arguments.model)?;
    if codec.conventions.template.is_none() {
        let reason = "has no chat template: train it on conversations first, with wgpt sft";
        return Err(Error::data(&arguments.model, reason));
    }
    let model = interchange::open(&arguments.model)?;
    let (context, fingerprint) = (model.config().context, adapter::fingerprint(&*model)?);
    drop(model);
    let (prompts, held_out) = prompts(shared, arguments, &codec, context)?;
    if let Source::Judge(judge) = &source {
        judge.suits(&prompts)?;
    }
    if let Some(gold) = &gold {
        let gold = NamedJudge::read("gold", gold, None)?;
        gold.suits(&prompts)?;
        gold.suits(&held_out)?;
    }
    source.check()?;
    arguments.recipe().ppo(&codec, prompts.longest(), arguments.seed).validate(context)?;
    let settings = settings(arguments, &fingerprint, &prompts, &held_out);
    let mut done = begin(arguments, &settings)?;
    let gpu = shared.open().await?;
    let stop = training::stop_on_interrupt(training::SAVES);
    let rounds =
        Loop { shared, arguments, gpu, codec, prompts, held_out, source, gold, reference: OnceCell::new(), stop };
    let outcome = rounds.run(&mut done, &settings).await;
    shared.ended(&rounds.gpu, outcome)
}

/// The prompts to train on and those that are held out.
fn prompts(shared: &Shared, arguments: &Arguments, codec: &TextCodec, context: usize) -> Result<(Prompts, Prompts)> {
    let width = arguments.answers.prompt_tokens(context)?;
    let read = |path: &Path| answers::listed(shared, path, codec, width, arguments.seed);
    let all = read(&arguments.prompts)?;
    let (taught, held_out) = match &arguments.held_out {
        Some(path) => {
            let held_out = read(path)?;
            let known: HashSet<_> = held_out.list().iter().map(|prompt| &prompt.ids).collect();
            let taught = all.only(|prompt| !known.contains(&prompt.ids));
            if taught.count() < all.count() {
                let both = counted(all.count() - taught.count(), "prompt");
                shared.say(format_args!("{both} left out of --prompts because --held-out has the same"));
            }
            (taught, held_out)
        }
        None => {
            let chosen = |prompt: &Prompt| hash::add(0, prompt.text.as_bytes()) % HELD_OUT == 0;
            (all.only(|prompt| !chosen(prompt)), all.only(chosen))
        }
    };
    for (found, what) in [(&taught, "to train on"), (&held_out, "to hold out")] {
        if found.count() == 0 {
            return Err(Error::data(
                &arguments.prompts,
                format!("leaves no prompt {what}: give more prompts, or --held-out"),
            ));
        }
    }
    Ok((taught, held_out))
}

/// What must be the same when a loop is resumed; there may be more rounds than before.
fn settings(arguments: &Arguments, model: &str, prompts: &Prompts, held_out: &Prompts) -> Value {
    json!({
        "model": model,
        "prompts": format!("{:016x}", prompts.fingerprint()),
        "held_out": format!("{:016x}", held_out.fingerprint()),
        "ratings": arguments.ratings,
        "gold": arguments.gold,
        "rated": arguments.rated,
        "reward_models": arguments.reward_models,
        "caution": arguments.caution(),
        "reward_lr": arguments.reward_lr,
        "reward_epochs": arguments.reward_epochs,
        "steps": arguments.steps,
        "batch": arguments.batch,
        "lr": arguments.lr,
        "target_kl": arguments.target_kl,
        "temperature": arguments.answers.temperature,
        "max_tokens": arguments.answers.max_tokens,
        "seed": arguments.seed,
    })
}

/// The stages that an earlier loop in the folder has completed.
fn begin(arguments: &Arguments, settings: &Value) -> Result<Vec<StageResult>> {
    let (out, path) = (&arguments.out, arguments.out.join(RECORD));
    if !arguments.resume {
        record::start(out, "loop")?;
        record::write(&path, settings, &[] as &[StageResult])?;
        return Ok(Vec::new());
    }
    let found = record::read(&path)?;
    let differs = |(name, now): (&String, &Value)| {
        let then = &found["settings"][name];
        (then != now).then(|| Error::OtherSettings { name: name.clone(), then: then.to_string(), now: now.to_string() })
    };
    if let Some(error) = settings.as_object().into_iter().flatten().find_map(differs) {
        return Err(error);
    }
    let done: Vec<StageResult> = record::stages(&path, &found)?;
    let rounds = done.len() / 2;
    if rounds > arguments.rounds {
        let reason = format!("the loop in {} has {rounds} already: give at least as many", out.display());
        return Err(Error::Usage(format!("--rounds {}: {reason}", arguments.rounds)));
    }
    Ok(done)
}

impl Loop<'_> {
    /// Runs the stages that are not done, and reports.
    async fn run(&self, done: &mut Vec<StageResult>, settings: &Value) -> Result<()> {
        let (out, clock) = (&self.arguments.out, Instant::now());
        let stages = Stage::all(self.arguments.rounds);
        for (index, stage) in stages.iter().enumerate().skip(done.len()) {
            self.shared.say(format_args!("\n== {} of {}: {}", index + 1, stages.len(), self.introduce(*stage)));
            let begun = Instant::now();
            let name = stage.name();
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped { stage: name });
            }
            let Some(mut result) = self.stage(*stage).await? else { return Err(Error::Stopped { stage: name }) };
            if !matches!(stage, Stage::Reward(_)) {
                self.ask(*stage, &mut result).await?;
            }
            (result.stage, result.seconds) = (name, begun.elapsed().as_secs_f64());
            done.push(result);
            record::write(&out.join(RECORD), settings, done)?;
        }
        self.judge(done)?;
        record::write(&out.join(RECORD), settings, done)?;
        self.report(done)?;
        let (first, last) = (done.first(), done.iter().rfind(|stage| !stage.answers.is_empty()));
        let gain = first.zip(last).filter(|(first, _)| !first.scores.is_empty());
        let gain = gain.and_then(|(first, last)| Gold::gain(&first.scores, &last.scores, self.arguments.seed));
        let seconds = clock.elapsed().as_secs_f64().max(done.iter().map(|stage| stage.seconds).sum());
        for stage in done.iter_mut() {
            stage.answers.clear();
            stage.scores.clear();
            stage.rewards.clear();
        }
        let model = self.folder(Stage::Ppo(self.arguments.rounds)).display().to_string();
        let report = out.join(REPORT).display().to_string();
        let output = Output { seconds, report, model, stages: done, gain };
        self.shared.result(&output, || words(&output))
    }

    fn report(&self, done: &[StageResult]) -> Result<()> {
        let chapter = |result: &StageResult| {
            let folder = self.arguments.out.join(&result.stage);
            let lines = if folder.is_dir() { metrics::read(&folder.join("metrics.jsonl"))? } else { Vec::new() };
            let answers = self.held_out.list().iter().zip(&result.answers).zip(&result.rewards).take(SHOWN);
            let answers = answers.map(|((prompt, answer), reward)| Answer {
                prompt: prompt.text.clone(),
                answer: answer.clone(),
                reward: *reward,
            });
            let mut facts = vec![("time".to_string(), format!("{:.0} s", result.seconds))];
            facts.extend(result.stopped.iter().map(|cause| ("ended early".to_string(), cause.clone())));
            let (name, about) = (result.stage.clone(), String::new());
            Ok(Chapter { name, about, facts, lines, answers: answers.collect() })
        };
        let chapters = done.iter().map(chapter).collect::<Result<Vec<_>>>()?;
        let about =
            "The gold score is the mean score of the answers to held-out prompts; in brackets its 95 % interval.";
        let overview = overview::overview(&figures(done), Gold::plain, about)?;
        let page = timeline::html("wgpt loop", &overview, &chapters)?;
        atomic::write(&self.arguments.out.join(REPORT), page.as_bytes())
    }
}

/// The figures of each policy, with the accuracy of the reward models that it was trained against.
fn figures(done: &[StageResult]) -> Vec<Figures> {
    let mut accuracy = None;
    let mut found = Vec::new();
    for stage in done {
        match stage.answers.is_empty() {
            true => accuracy = stage.accuracy,
            false => found.push(Figures {
                name: stage.stage.clone(),
                gold: stage.gold,
                reward: stage.reward,
                kl: stage.kl,
                accuracy,
            }),
        }
    }
    found
}

fn words(output: &Output<'_>) -> String {
    let mut lines = Vec::new();
    for stage in output.stages {
        let number = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.3}"));
        let facts = [
            stage.gold.map(|gold| format!("gold {}", gold.plain())),
            number("reward", stage.reward),
            number("accuracy", stage.accuracy),
            number("KL", stage.kl),
            stage.stopped.as_ref().map(|_| "ended early".to_string()),
            Some(format!("{:.0} s", stage.seconds)),
        ];
        lines.push(format!("{:<9}{}", stage.stage, facts.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    if let Some(gain) = output.gain {
        lines.push(format!("gold score, last round minus none: {}", gain.plain()));
    }
    lines.push(format!("the curves are in {}\ntry: wgpt chat {}", output.report, output.model));
    lines.join("\n")
}
