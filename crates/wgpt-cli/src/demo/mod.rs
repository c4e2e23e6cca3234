//! `wgpt demo`

mod questions;
mod ratings;
mod recipe;
mod stages;
mod texts;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{
    recipe::Recipe,
    stages::{DemoRun, ScorableAnswer},
};
use super::{
    Shared, output,
    rounds::{
        gold::Gold,
        overview::{self, Figures},
        record,
    },
    training,
};
use wgpt::{
    Error, Result,
    io::{atomic, metrics},
    report::timeline::{self, Overview},
};

/// Run the whole pipeline: a model learns to write, to chat, and to chat the way people prefer
#[derive(Debug, Args)]
#[command(after_help = "Eight stages, on texts that come with the program:
  pretrain   a tokenizer, then a GPT that learns to write from plays of Shakespeare
  sft        it learns to answer everyday questions, from conversations in which many answers are poor
  reward     a reward model learns from ratings which answers people prefer
  ppo        the chat model is trained against the reward model
  reward2    ratings of the better model's answers make a better reward model
  ppo2       and the chat model is trained against that one
  reward3, ppo3    once more
After each stage the same questions are asked, in wordings that no stage trains on. The gold score is the share of
acceptable answers. At the end some answers are shown, all scored by the last reward model (0 and 1 are mean and standard
deviation of the answers after sft to other questions), and report.html has the curves. With --rate you rate the answers.
Ctrl-C stops after a step; --resume continues from there.

Examples:
  wgpt demo
  wgpt demo --rate 20
  wgpt demo --long --out runs/talker
  wgpt chat runs/demo/ppo3")]
pub(crate) struct Arguments {
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Rate this many pairs of answers yourself in each round, instead of the program, which knows good answers
    #[arg(long, value_name = "PAIRS", num_args = 0..=1, default_missing_value = "20")]
    rate: Option<usize>,
    /// Train a larger model on more data for longer: about an hour without a GPU
    #[arg(long)]
    long: bool,
    /// Cut every stage's steps down if the whole would take longer than this on the adapter, but not below three
    /// tenths; measured when the demo begins
    #[arg(long, value_name = "MINUTES", default_value_t = 9.0, conflicts_with = "long", allow_negative_numbers = true)]
    minutes: f64,
    /// For tests: runs everything without learning anything
    #[arg(long, hide = true)]
    smallest: bool,
    /// Random seed of the whole demo
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Continue the demo in --out where it stopped
    #[arg(long)]
    resume: bool,
}

/// The results of a stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct StageResult {
    stage: String,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    val_loss: Option<f64>,
    /// Held-out accuracy of a reward model.
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    /// Mean reward of the answers according to the last reward model.
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<f64>,
    /// KL in nats per answer from the stage's initial policy, over the last quarter of its steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    kl: Option<f64>,
    /// Share of the answers that equal, word for word, one that was taught.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_taught: Option<f64>,
    /// Share of acceptable answers to held-out questions, from fine-tuning on.
    #[serde(skip_serializing_if = "Option::is_none")]
    gold: Option<Gold>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    samples: Vec<Sample>,
    /// All answers after the stage, kept until the last reward model has scored them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<String>,
}

/// An answer to show.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    prompt: String,
    answer: String,
    reward: f32,
}

#[derive(Serialize)]
struct Output<'a> {
    seconds: f64,
    report: String,
    model: String,
    stages: &'a [StageResult],
    /// Gain in gold score from the first round to the last, over the same questions.
    gain: Option<Gold>,
}

/// The stages in order.
const STAGES: [&str; 8] = ["pretrain", "sft", "reward", "ppo", "reward2", "ppo2", "reward3", "ppo3"];

/// The last stage's model is the result, and the last reward model scores all answers.
const RESULT: &str = "ppo3";
const JUDGE: &str = "reward3";

/// The record of the stages that are done, in the demo's folder.
const RECORD: &str = "story.json";

/// The page about all stages, in the demo's folder.
pub(super) const REPORT: &str = "report.html";

/// Whether a folder is that of a demo.
pub(super) fn is_demo(folder: &Path) -> bool {
    folder.join(RECORD).is_file()
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let out = &arguments.out;
    let record = out.join(RECORD);
    let recipe = match arguments {
        Arguments { smallest: true, .. } => Recipe::smallest(),
        Arguments { long: true, .. } => Recipe::long(),
        _ => Recipe::short(),
    };
    if arguments.minutes <= 0.0 || arguments.minutes.is_nan() {
        return Err(Error::Usage(format!("--minutes {}: give a number above 0", arguments.minutes)));
    }
    if let Some(pairs) = arguments.rate.filter(|pairs| !(1..=recipe.prompts).contains(pairs)) {
        return Err(Error::Usage(format!("--rate {pairs}: give a number of pairs from 1 to {}", recipe.prompts)));
    }
    let (mut told, recipe) = begin(arguments, recipe)?;
    let clock = Instant::now();
    let gpu = shared.open().await?;
    let stop = training::stop_on_interrupt(training::SAVES);
    let mut story = DemoRun::new(shared, &gpu, out, recipe, arguments.seed, arguments.rate, stop)?;
    let begins = told.is_empty() && !story.folder("pretrain").exists();
    if begins && !arguments.long && !arguments.smallest {
        story.recipe = Recipe::short();
        story.fit(60.0 * arguments.minutes).await?;
        save(&record, arguments, &story.recipe, &told)?;
    }
    for (index, stage) in STAGES.iter().enumerate().skip(told.len()) {
        shared.say(format_args!("\n== {} of {}: {}", index + 1, STAGES.len(), story.introduce(stage)));
        let begun = Instant::now();
        let Some(mut done) = story.stage(stage).await? else {
            return Err(Error::Stopped { stage: stage.to_string() });
        };
        if !stage.starts_with("reward") {
            done.answers = story.answers(stage).await?;
            // A model that only writes plays answers nothing.
            let talks = *stage != "pretrain";
            done.gold = talks.then(|| Gold::of(&story.gold(&done.answers), arguments.seed)).flatten();
        }
        (done.stage, done.seconds) = (stage.to_string(), begun.elapsed().as_secs_f64());
        told.push(done);
        save(&record, arguments, &story.recipe, &told)?;
    }
    judge(&story, &mut told).await?;
    save(&record, arguments, &story.recipe, &told)?;
    shared.close(&gpu)?;
    let report = out.join(REPORT);
    let chapters = told.iter().map(|told| chapter(&story, told)).collect::<Result<Vec<_>>>()?;
    let page = timeline::html("wgpt demo: from letters to manners", &overview(&told)?, &chapters)?;
    atomic::write(&report, page.as_bytes())?;
    let model = out.join(RESULT).display().to_string();
    let scores = |name| told.iter().find(|stage| stage.stage == name).map(|stage| story.gold(&stage.answers));
    let gain = scores("ppo").zip(scores(RESULT)).and_then(|(first, last)| Gold::gain(&first, &last, arguments.seed));
    for stage in &mut told {
        stage.answers.clear();
    }
    // Includes the time before a --resume.
    let seconds = clock.elapsed().as_secs_f64().max(told.iter().map(|told| told.seconds).sum());
    let output = Output { seconds, report: report.display().to_string(), model: model.clone(), stages: &told, gain };
    shared.result(&output, || {
        format!(
            "{}\n{}{:.0} seconds; the curves are in {}\ntry: wgpt chat {model}",
            words(&told),
            gain.map_or(String::new(), |gain| format!(
                "gold score, last round minus first: {}\n",
                gain.words("points")
            )),
            seconds,
            report.display()
        )
    })
}

/// The stages that an earlier demo in the folder has completed, and the recipe: an earlier demo may have cut it down.
fn begin(arguments: &Arguments, recipe: Recipe) -> Result<(Vec<StageResult>, Recipe)> {
    let record = arguments.out.join(RECORD);
    if !arguments.resume {
        record::start(&arguments.out, "demo")?;
        save(&record, arguments, &recipe, &[])?;
        return Ok((Vec::new(), recipe));
    }
    let found = record::read(&record)?;
    let kept = serde_json::from_value::<Recipe>(found["settings"]["recipe"].clone());
    let recipe = kept.ok().filter(|kept| kept.is_cut_from(&recipe)).unwrap_or(recipe);
    let wanted = settings(arguments, &recipe);
    if found["settings"] != wanted {
        let reason =
            format!("the demo was started with {}, now it is {wanted}: use the same options", found["settings"]);
        return Err(Error::Config(format!("--resume: {reason}")));
    }
    Ok((record::stages(&record, &found)?, recipe))
}

/// The settings that must be the same when a demo is resumed.
fn settings(arguments: &Arguments, recipe: &Recipe) -> Value {
    json!({ "seed": arguments.seed, "rate": arguments.rate, "recipe": recipe, "questions": questions::fingerprint() })
}

fn save(record: &Path, arguments: &Arguments, recipe: &Recipe, told: &[StageResult]) -> Result<()> {
    record::write(record, &settings(arguments, recipe), told)
}

/// Scores all answers of all stages with the last reward model.
async fn judge(story: &DemoRun<'_>, told: &mut [StageResult]) -> Result<()> {
    let judge = story.reward_model(JUDGE)?;
    for stage in told.iter_mut().filter(|stage| !stage.answers.is_empty()) {
        let said: Vec<ScorableAnswer<'_>> = story.said(&stage.answers).collect();
        let rewards = stages::rewards(&judge, &said).await?;
        stage.reward = Some(rewards.iter().map(|reward| f64::from(*reward)).sum::<f64>() / rewards.len().max(1) as f64);
        let right = said.iter().filter(|said| said.question.answers.iter().any(|answer| answer == said.answer)).count();
        stage.as_taught = Some(right as f64 / said.len().max(1) as f64);
        let sample = |(said, reward): (&ScorableAnswer<'_>, &f32)| Sample {
            prompt: said.question.prompt.clone(),
            answer: said.answer.to_string(),
            reward: *reward,
        };
        stage.samples = said.iter().zip(&rewards).take(story.recipe.shown).map(sample).collect();
    }
    Ok(())
}

/// The figures of all rounds as a table and as curves.
fn overview(told: &[StageResult]) -> Result<Overview> {
    let figures = |stage: &StageResult| {
        let judge = told.iter().take_while(|other| other.stage != stage.stage).last();
        Figures {
            name: stage.stage.clone(),
            gold: stage.gold,
            reward: stage.reward,
            kl: stage.kl,
            accuracy: judge.and_then(|judge| judge.accuracy),
        }
    };
    let talking: Vec<_> = told.iter().filter(|stage| stage.gold.is_some()).map(figures).collect();
    let about = "The gold score is the share of acceptable answers to questions in words that no stage trained on; in brackets \
                 its 95 % interval.";
    overview::overview(&talking, |gold| gold.words("%"), about)
}

/// A stage's chapter in the report.
fn chapter(story: &DemoRun<'_>, told: &StageResult) -> Result<timeline::Chapter> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| facts.extend(value.map(|value| (name.to_string(), value)));
    fact("validation loss", told.val_loss.map(|loss| format!("{loss:.3}")));
    fact("held-out accuracy", told.accuracy.map(|share| format!("{:.1} %", 100.0 * share)));
    fact("reward", told.reward.map(|reward| format!("{reward:+.2}")));
    fact("gold score", told.gold.map(|gold| gold.words("%")));
    fact("answered as taught", told.as_taught.map(|share| format!("{:.0} %", 100.0 * share)));
    fact("KL", told.kl.map(|kl| format!("{kl:.2} nats per answer")));
    fact("time", Some(format!("{:.0} s", told.seconds)));
    let lines = metrics::read(&story.folder(&told.stage).join("metrics.jsonl"))?;
    let answers = told.samples.iter().map(|sample| timeline::Answer {
        prompt: sample.prompt.clone(),
        answer: sample.answer.clone(),
        reward: sample.reward,
    });
    let (name, about) = (told.stage.clone(), story.introduce(&told.stage).to_string());
    Ok(timeline::Chapter { name, about, facts, lines, answers: answers.collect() })
}

/// Maximum number of characters shown of an answer.
const WIDTH: usize = 76;

/// Every stage's figures, then the same prompts with the answers after each stage.
fn words(told: &[StageResult]) -> String {
    let number = |value: Option<f64>, digits: usize| value.map_or(String::new(), |value| format!("{value:.digits$}"));
    let share = |value: Option<f64>| value.map_or(String::new(), |value| format!("{:.0} %", 100.0 * value));
    let head = ["stage", "val loss", "accuracy", "reward", "gold", "as taught", "KL", "seconds"];
    let mut lines = vec![row(head.map(String::from))];
    for stage in told {
        let StageResult { val_loss, accuracy, reward, gold, as_taught, kl, seconds, .. } = stage;
        let reward = reward.map_or(String::new(), |reward| format!("{reward:+.2}"));
        let gold = share(gold.map(|gold| gold.mean));
        let [a, b, d, e] = [number(*val_loss, 3), share(*accuracy), share(*as_taught), number(*kl, 2)];
        lines.push(row([stage.stage.clone(), a, b, reward, gold, d, e, format!("{seconds:.0}")]));
    }
    let answered: Vec<_> = told.iter().filter(|stage| !stage.samples.is_empty()).collect();
    for index in 0..answered.first().map_or(0, |stage| stage.samples.len()) {
        lines.push(format!("\n{}", output::harmless(&answered[0].samples[index].prompt)));
        for stage in &answered {
            let Some(sample) = stage.samples.get(index) else { continue };
            let answer = output::beginning(&sample.answer, WIDTH);
            lines.push(format!("  {:<9}{:>+6.2}  {answer}", stage.stage, sample.reward));
        }
    }
    lines.join("\n")
}

fn row(cells: [String; 8]) -> String {
    let [stage, others @ ..] = cells;
    let others: String = others.iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{stage:<9}{others}").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_answers_the_same_prompts() {
        let sample = |answer: &str, reward| Sample { prompt: "Hi".into(), answer: answer.into(), reward };
        let stage = |name: &str, samples| StageResult {
            stage: name.into(),
            reward: Some(0.5),
            samples,
            ..StageResult::default()
        };
        let told = [
            stage("sft", vec![sample("Go\u{1b} away.", -1.25)]),
            stage("reward", vec![]),
            stage("ppo", vec![sample("Hello!", 0.75)]),
        ];
        let text = words(&told);
        assert!(text.contains("\nHi\n  sft       -1.25  Go\u{fffd} away.\n  ppo       +0.75  Hello!"), "{text}");
        assert_eq!(text.lines().count(), 4 + 4);
    }
}
