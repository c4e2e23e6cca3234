//! The training data of a reward model.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::super::{Shared, output};
use wgpt::{
    Error, Result,
    feedback::{Answered, answered},
    train::reward::{Data, Objective, Reader},
};
use wgpt_server::feedback::{Store, import};

/// The source of the ratings, and which kind to use.
#[derive(Debug, Args)]
pub(super) struct DataArguments {
    /// Database of ratings
    #[arg(long, value_name = "FILE", conflicts_with = "data", default_value = "feedback.sqlite")]
    feedback: PathBuf,
    /// Ratings in JSON lines, a JSON list or a Parquet table, instead of a database
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// What to train on [default: the most frequent kind of rating]
    #[arg(long, value_enum)]
    objective: Option<Kind>,
    /// Prompts and answers (JSON lines, a JSON list or a Parquet table) over which rewards are normalised to mean 0 and standard deviation 1 [default:
    /// training answers]
    #[arg(long, value_name = "FILE")]
    normalise_on: Option<PathBuf>,
}

/// See [`Objective`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Which of two is better
    Pairs,
    /// Which of several is the best
    Best,
    /// How good each is
    Scores,
}

impl DataArguments {
    /// The file of ratings.
    pub fn path(&self) -> &Path {
        self.data.as_deref().unwrap_or(&self.feedback)
    }

    /// The tokenised ratings, and the number of lines and ratings that were left out. Reports the reasons.
    pub fn load(&self, shared: &Shared, reader: &Reader) -> Result<(Data, u64)> {
        let bar = output::bar(0, shared.quiet);
        let (mut notes, mut left_out) = (Vec::new(), 0);
        let store = match &self.data {
            None => Store::open(&self.feedback)?,
            Some(path) => {
                let (store, imported) =
                    import::in_memory(path, |bytes| bar.set_message(format!("{bytes} bytes read")))?;
                (notes, left_out) = (imported.mistakes.lines(imported.unit), imported.mistakes.total());
                // If the file has no ratings, its first mistakes are reported.
                if store.count()? == 0 {
                    let reason = "no ratings in it; see wgpt reward --help for what a record may be".to_string();
                    return Err(Error::data(path, [vec![reason], notes].concat().join("\n")));
                }
                store
            }
        };
        let objective = self.objective.map(|kind| match kind {
            Kind::Pairs => Objective::Pairs,
            Kind::Best => Objective::Best,
            Kind::Scores => Objective::Scores,
        });
        bar.set_message("reading");
        let data = Data::load(&store, objective, reader, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        notes.extend(data.remarks());
        if !notes.is_empty() {
            let notes: Vec<_> = notes.iter().map(|note| output::harmless(note)).collect();
            shared.say(format_args!("left out or cut:\n{}", notes.join("\n")));
        }
        left_out += data.left_out.total() + data.mistakes.total();
        Ok((data, left_out))
    }

    /// The texts of --normalise-on.
    pub fn reference(&self, shared: &Shared, reader: &Reader) -> Result<Option<Vec<Vec<u32>>>> {
        let Some(path) = &self.normalise_on else { return Ok(None) };
        let Answered { tasks, mistakes, unit } = answered(path)?;
        if !mistakes.is_empty() {
            shared.say(format_args!("{}:\n{}", path.display(), mistakes.lines(unit).join("\n")));
        }
        let mut texts = Vec::new();
        for (line, task) in &tasks {
            for answer in &task.answers {
                let text = reader.read(task.prompt.messages(), &answer.text);
                texts.push(text.map_err(|(mistake, words)| unreadable(path, unit, *line, mistake, &words))?.ids);
            }
        }
        if texts.len() < 2 {
            return Err(Error::data(path, "one answer has no standard deviation: give at least two"));
        }
        Ok(Some(texts))
    }
}

/// The error for a text that cannot be scored.
pub(super) fn unreadable(path: &Path, unit: &str, number: u64, mistake: impl std::fmt::Display, words: &str) -> Error {
    let detail = if words.is_empty() { String::new() } else { format!(": {words}") };
    Error::data(path, format!("{unit} {number} cannot be judged: {mistake}{detail}"))
}
