//! Where a round's ratings come from: people, a file, or a judge.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    super::{judges::NamedJudge, rate},
    answers::{as_json, scored},
    stages::{Loop, RATED},
};
use wgpt::{Error, Result, error::counted, infer::sampler::Sampling, io::atomic, train::ppo::prompts::Prompt};
use wgpt_server::feedback::{
    Store,
    export::{Format, export},
    import,
};

/// Who rates.
pub(super) enum Source {
    People,
    File(PathBuf),
    /// The judge was checked; it is opened anew for each round.
    Judge(Box<NamedJudge>),
}

impl Source {
    /// Reads the value of `--ratings`.
    ///
    /// # Errors
    /// The errors of [`NamedJudge::read`] for what is neither `people` nor a file.
    pub fn read(value: &str) -> Result<Self> {
        if value == "people" {
            return Ok(Self::People);
        }
        if Path::new(value).is_file() {
            return Ok(Self::File(value.into()));
        }
        if Path::new(value).extension().is_some() && !value.contains(':') {
            return Err(Error::data(Path::new(value), "no such file of ratings"));
        }
        Ok(Self::Judge(Box::new(NamedJudge::read("ratings", value, None)?)))
    }

    /// Reads a file's ratings once, to find what is wrong with it before anything is done.
    ///
    /// # Errors
    /// [`Error::Data`] for a file without ratings.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::File(path) => of_file(path).map(drop),
            Self::People | Self::Judge(_) => Ok(()),
        }
    }

    pub fn is_judge(&self) -> bool {
        matches!(self, Self::Judge(_))
    }
}

/// The ratings that the reward models of a round learn from. They are kept in a file of the round, written whole or not at all, so
/// that an interrupted round goes on with the same.
pub(super) async fn collect(rounds: &Loop<'_>, round: usize, policy: &Path) -> Result<Store> {
    let path = rounds.arguments.out.join(format!("ratings{round}.jsonl"));
    if !path.exists() {
        match &rounds.source {
            Source::People => drop(export(&ask(rounds, round, policy).await?, &path, Format::Ratings)?),
            Source::File(file) => {
                let (store, remarks) = of_file(file)?;
                remarks.iter().for_each(|remark| rounds.shared.say(format_args!("{}: {remark}", file.display())));
                export(&store, &path, Format::Ratings)?;
            }
            Source::Judge(_) => atomic::write(&path, judged(rounds, round, policy).await?.as_bytes())?,
        }
    }
    Ok(import::in_memory(&path, |_| ())?.0)
}

/// The ratings of a data file or a database, and what could not be read of it.
fn of_file(path: &Path) -> Result<(Store, Vec<String>)> {
    let (store, remarks) = match is_database(path)? {
        true => (Store::open(path)?, Vec::new()),
        false => {
            let (store, imported) = import::in_memory(path, |_| ())?;
            (store, imported.mistakes.lines(imported.unit))
        }
    };
    match store.count()? {
        0 => {
            let reason = "holds no ratings; see wgpt feedback import --help".to_string();
            Err(Error::data(path, [vec![reason], remarks].concat().join("\n")))
        }
        _ => Ok((store, remarks)),
    }
}

/// A prompt as files of ratings have it.
fn asked(prompt: &Prompt) -> Value {
    prompt.messages.iter().map(as_json).collect()
}

fn is_database(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io(path, "open"))?;
    file.take(16).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    Ok(start == b"SQLite format 3\0")
}

/// The judge's preferences as JSON lines: between two answers to each prompt, and between these and an answer to another
/// prompt. A reward model that has never seen a good answer to something else being rejected takes any fluent words for a
/// good answer.
async fn judged(rounds: &Loop<'_>, round: usize, policy: &Path) -> Result<String> {
    let prompts: Vec<&Prompt> = rounds.rated(round).collect();
    let count = prompts.len();
    let twice: Vec<_> = prompts.iter().chain(&prompts).copied().collect();
    let answers = rounds.draw(policy, &twice, RATED.wrapping_add(round as u64)).await?;
    let (first, second) = answers.split_at(count);
    let elsewhere: Vec<String> = (0..count).map(|index| first[(index + 1) % count].clone()).collect();
    let mut judge = NamedJudge::read("ratings", &rounds.arguments.ratings, None)?.open(&rounds.gpu)?;
    let mut scores = Vec::with_capacity(3);
    for answers in [first, second, &elsewhere] {
        scores.push(judge.score(&scored(&prompts, answers))?);
    }
    let (mut lines, mut pairs) = (String::new(), 0);
    for (index, prompt) in prompts.iter().enumerate() {
        let rated = [first, second, &elsewhere].map(|answers| answers[index].as_str());
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let (better, worse) = if scores[a][index] >= scores[b][index] { (a, b) } else { (b, a) };
            if scores[better][index] > scores[worse][index] && !rated[worse].is_empty() && !rated[better].is_empty() {
                let line = json!({ "prompt": asked(prompt), "chosen": rated[better], "rejected": rated[worse] });
                lines += &format!("{line}\n");
                pairs += 1;
            }
        }
    }
    if pairs == 0 {
        let reason = format!("gives all answers to each of {} the same score", counted(count, "prompt"));
        return Err(Error::Judge { judge: rounds.arguments.ratings.clone(), reason });
    }
    rounds.shared.say(format_args!("{} by {}", counted(pairs, "preference"), rounds.arguments.ratings));
    Ok(lines)
}

/// Asks the person at the terminal. The store holds the ratings of the earlier rounds too.
async fn ask(rounds: &Loop<'_>, round: usize, policy: &Path) -> Result<Store> {
    let out = &rounds.arguments.out;
    let (prompts, database) = (out.join(format!("prompts{round}.jsonl")), out.join("feedback.sqlite"));
    let line = |prompt: &Prompt| format!("{}\n", json!({ "prompt": asked(prompt) }));
    atomic::write(&prompts, rounds.rated(round).map(line).collect::<String>().as_bytes())?;
    let seed = rounds.arguments.seed.wrapping_add(round as u64);
    let sampling = Sampling { temperature: rounds.arguments.answers.temperature, seed, ..Sampling::default() };
    let most = rounds.arguments.answers.max_tokens;
    let store = rate::of_two(rounds.shared, &rounds.gpu, policy, &prompts, &database, sampling, most).await?;
    let none = "nothing was rated; rate some answers, or give --ratings a judge or a file";
    store.ok_or_else(|| Error::Usage(none.to_string()))
}
