//! `wgpt rate`

pub(super) mod reply;
mod tasks;

use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use self::reply::{HELP, Reply, letter};
use super::{
    Shared,
    feedback::Database,
    options::{LoadArguments, SamplingArguments},
    output,
};
use wgpt::{
    Error, Result,
    conversation::Conversation,
    error::counted,
    feedback::{self, Answer, Mistake, Prompt, Rating, Tally, Task, Verdict},
    gpu::Gpu,
    infer::{sampler::Sampling, session},
    random,
};
use wgpt_server::feedback::Store;

/// The random stream for the order in which answers are shown.
const ORDER_STREAM: u64 = u64::from_le_bytes(*b"rate-abc");

/// Compare answers: rank them, score them, or skip
#[derive(Debug, Args)]
#[command(after_help = "While rating:
  b          B is the best
  b>a=c>d    a full ranking; = for equally good answers
  a 4        a score from 1 to 5; also several: a 4 b 2
  s, q, ?    skip, quit, help; every rating is stored at once

A file of prompts has {\"prompt\": ...} on every line, a text or a list of {\"role\", \"content\"}; if there are \"answers\": [..]
these are rated and no model is needed.

Examples:
  wgpt rate --model model.gguf --prompts 'Why is the sky blue?'
  wgpt rate --model runs/chat --prompts prompts.jsonl --answers 4 --rater anna
  wgpt rate --prompts answered.jsonl --feedback team.sqlite")]
pub(crate) struct Arguments {
    /// The model that answers: GGUF file, Hugging Face folder, checkpoint or run folder
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Prompts: JSON lines, a JSON list or a Parquet table, a text with one prompt per line, or the prompt itself
    #[arg(long, value_name = "FILE|TEXT", allow_hyphen_values = true)]
    prompts: String,
    /// Answers to compare
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=8), value_name = "N")]
    answers: u8,
    #[command(flatten)]
    database: Database,
    /// Name of the rater [default: the user's name]
    #[arg(long, value_name = "NAME")]
    rater: Option<String>,
    /// Also show answers that this rater has already rated
    #[arg(long)]
    again: bool,
    /// Maximum number of tokens in an answer
    #[arg(long, default_value_t = 256)]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    load: LoadArguments,
}

/// The result of the command.
#[derive(Debug, Default, Serialize)]
struct Output {
    feedback: PathBuf,
    rater: String,
    /// Prompts that could be rated.
    prompts: usize,
    /// Number of ratings stored by this command, by kind, including skips.
    rated: BTreeMap<&'static str, usize>,
    /// Prompts skipped because this rater has already rated the same answers.
    rated_before: usize,
    /// Prompts that the model did not answer.
    unanswered: usize,
    /// Prompts that were not reached.
    left: usize,
    /// Records of the file that cannot be rated.
    mistakes: Tally<Mistake>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let sampling = arguments.sampling.sampling()?;
    let tasks::Tasks { tasks, mistakes, unit } = tasks::read(&arguments.prompts)?;
    if !mistakes.is_empty() {
        shared.say(format_args!("left out of {}:\n{}", arguments.prompts, mistakes.lines(unit).join("\n")));
    }
    let rater = arguments.rater.clone().unwrap_or_else(user);
    if rater.trim().is_empty() {
        return Err(Error::Usage("--rater is empty: give a name".to_string()));
    }
    let unanswered = tasks.iter().any(|task| task.answers.is_empty());
    if unanswered && arguments.model.is_none() {
        let reason = "some prompts have no answers: give --model, or records with \"answers\": [..]";
        return Err(Error::Usage(reason.to_string()));
    }
    let mut store = Store::create(&arguments.database.feedback)?;
    let output = Output {
        feedback: arguments.database.feedback.clone(),
        rater,
        prompts: tasks.len(),
        mistakes,
        ..Output::default()
    };
    let Arguments { answers, again, .. } = *arguments;
    let how = Dialogue { answers: answers.into(), again, seed: arguments.sampling.seed() };
    let mut rating = Session { shared, how, store: &mut store, output, introduced: false };
    match &arguments.model {
        Some(path) if unanswered => {
            let gpu = shared.open().await?;
            let (model, codec) = shared.load(&gpu, path, &arguments.load)?;
            let session = session::Session::with_precision(&gpu, &model, arguments.load.precision())?;
            let mut conversation = Conversation::new(session, &codec, sampling, arguments.max_tokens)?;
            if let Some(warning) = conversation.warning() {
                shared.say(format_args!("{warning}"));
            }
            rating.all(&tasks, Some((&mut conversation, tasks::name(path)))).await?;
            shared.close(&gpu)?;
        }
        _ => rating.all(&tasks, None).await?,
    }
    let output = rating.output;
    shared.result(&output, || {
        let rated: Vec<_> = output.rated.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let rated = if rated.is_empty() { "nothing".to_string() } else { rated.join(", ") };
        format!("stored in {}: {rated}; {} left", output.feedback.display(), counted(output.left, "prompt"))
    })
}

/// The user's name according to the system.
fn user() -> String {
    let known = ["USER", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
    known.filter(|name| !name.is_empty()).unwrap_or_else(|| "anonymous".to_string())
}

/// Lets the user compare two answers of the model at `path` to each prompt in a file. Returns the ratings in the database, with
/// earlier ones; [`None`] if there are none.
pub(super) async fn of_two(
    shared: &Shared,
    gpu: &Gpu,
    path: &Path,
    prompts: &Path,
    database: &Path,
    sampling: Sampling,
    max_tokens: usize,
) -> Result<Option<Store>> {
    let tasks::Tasks { tasks, .. } = tasks::read(&prompts.display().to_string())?;
    let mut store = Store::create(database)?;
    let (model, codec) = shared.load(gpu, path, &LoadArguments::default())?;
    let session = session::Session::new(gpu, &model)?;
    let mut conversation = Conversation::new(session, &codec, sampling, max_tokens)?;
    let output = Output { feedback: database.to_path_buf(), rater: user(), prompts: tasks.len(), ..Output::default() };
    let how = Dialogue { answers: 2, again: false, seed: sampling.seed };
    let mut rating = Session { shared, how, store: &mut store, output, introduced: false };
    rating.all(&tasks, Some((&mut conversation, tasks::name(path)))).await?;
    Ok((store.count()? > 0).then_some(store))
}

/// The state of the dialogue with the rater.
struct Dialogue {
    answers: usize,
    again: bool,
    seed: u64,
}

struct Session<'a> {
    shared: &'a Shared,
    how: Dialogue,
    store: &'a mut Store,
    output: Output,
    /// Whether the rater has seen the help text.
    introduced: bool,
}

impl Session<'_> {
    /// Shows one task after the other until all are rated, the rater quits, or the input ends.
    async fn all(&mut self, tasks: &[Task], mut model: Option<(&mut Conversation<'_>, String)>) -> Result<()> {
        let mut lines = std::io::stdin().lock().lines();
        for (index, task) in tasks.iter().enumerate() {
            let Task { prompt, answers } = task;
            let rater = self.output.rater.clone();
            let before = !answers.is_empty() && !self.how.again;
            if before && self.store.has_rated(&rater, prompt, &different(answers))? {
                self.output.rated_before += 1;
                continue;
            }
            let count = self.how.answers;
            let answers = match &mut model {
                Some((conversation, name)) if answers.is_empty() => {
                    match tasks::answers(self.shared, conversation, prompt, name, count).await {
                        // Some templates refuse some conversations, and some tokenizers lack some characters.
                        Err(error @ (Error::Template(_) | Error::Tokenizer(_))) => {
                            self.shared.say(format_args!("prompt {}: {error}", index + 1));
                            Vec::new()
                        }
                        other => other?,
                    }
                }
                _ => different(answers),
            };
            if answers.is_empty() {
                self.shared.say(format_args!("prompt {}: no answer", index + 1));
                self.output.unanswered += 1;
                continue;
            }
            if task.answers.is_empty() && answers.len() < count {
                self.shared.say(format_args!("the model keeps to {} of {count} different answers", answers.len()));
            }
            let answers = shuffled(answers, self.how.seed, index as u64);
            self.show(prompt, &answers, &format!("{} of {}", index + 1, tasks.len()))?;
            let Some(verdict) = self.ask(&mut lines, answers.len())? else {
                self.output.left = tasks.len() - index;
                break;
            };
            let kind = verdict.kind();
            let rating = Rating::new(prompt.clone(), answers, verdict, rater, Some(wgpt_server::feedback::now()));
            self.store
                .add(&rating.map_err(|refusal| Error::Usage(format!("a rating that cannot be kept: {refusal}")))?)?;
            *self.output.rated.entry(kind).or_default() += 1;
        }
        Ok(())
    }

    /// Asks for a verdict on `count` answers; [`None`] if the rater quits or the input ends.
    fn ask(
        &mut self,
        lines: &mut impl Iterator<Item = std::io::Result<String>>,
        count: usize,
    ) -> Result<Option<Verdict>> {
        if !self.introduced {
            self.print(HELP)?;
            self.introduced = true;
        }
        loop {
            if std::io::stdin().is_terminal() {
                output::talk("> ");
            }
            let line = match lines.next() {
                None => return Ok(None),
                Some(Ok(line)) => line,
                Some(Err(error)) => return Err(Error::Usage(format!("what you typed is not UTF-8 text: {error}"))),
            };
            match Reply::parse(&line, count) {
                Ok(Reply::Verdict(verdict)) => return Ok(Some(verdict)),
                Ok(Reply::Quit) => return Ok(None),
                Ok(Reply::Help) => self.print(HELP)?,
                Err(mistake) => self.print(&mistake)?,
            }
        }
    }

    fn show(&self, prompt: &Prompt, answers: &[Answer], title: &str) -> Result<()> {
        self.print(&format!("\n──────── {title}"))?;
        for message in prompt.messages() {
            self.print(&format!("{}: {}", message.role, message.content))?;
        }
        for (index, answer) in answers.iter().enumerate() {
            self.print(&format!("\n[{}]\n{}", letter(index), answer.text.trim_end()))?;
        }
        self.print("")
    }

    /// Prints a text for the rater; with --json it goes to stderr like all messages.
    fn print(&self, text: &str) -> Result<()> {
        let text = output::harmless(text);
        if self.shared.json {
            output::say(text);
            return Ok(());
        }
        output::line(text)
    }
}

/// The answers without those that repeat an earlier one.
fn different(answers: &[Answer]) -> Vec<Answer> {
    let mut kept: Vec<Answer> = Vec::new();
    for answer in answers {
        if kept.iter().all(|other| other.text != answer.text) {
            kept.push(answer.clone());
        }
    }
    kept
}

/// The answers in a random order that does not reveal their origin (Fisher and Yates); the order depends on the seed
/// only.
fn shuffled(mut answers: Vec<Answer>, seed: u64, task: u64) -> Vec<Answer> {
    for last in (1..answers.len()).rev() {
        let counter = task * feedback::MOST_ANSWERS as u64 + last as u64;
        let other = random::below(seed, ORDER_STREAM, counter, last as u64 + 1);
        answers.swap(last, other as usize);
    }
    answers
}
