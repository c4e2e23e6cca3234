//! Preferences from a feedback database or a data file, for every command that trains on them.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Shared, output};
use wgpt::{
    Error, Result,
    error::counted,
    feedback::{LeftOut, Mistake, Preference, RatingSource, Samples, Tally, preferences_of},
    interchange::TextCodec,
    train::preferences::{Pairs, Unusable},
};
use wgpt_server::feedback::Store;

/// The source of preferences.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Source {
    /// Ratings: the database of `wgpt rate` and `wgpt feedback`
    #[arg(long, value_name = "FILE.sqlite")]
    feedback: Option<PathBuf>,
    /// Preferences: JSON lines, a JSON list or a Parquet table, in the forms of `wgpt feedback import`; - for standard input
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
}

/// What was left out, and why.
#[derive(Debug, Default, Serialize)]
pub(super) struct Left {
    /// Records that are not ratings.
    mistakes: Tally<Mistake>,
    /// Ratings that do not order any answers.
    no_preference: Tally<LeftOut>,
    /// Preferences that cannot be tokenised.
    unusable: Tally<Unusable>,
}

impl Source {
    /// The file.
    pub fn path(&self) -> &Path {
        self.feedback.as_deref().or(self.data.as_deref()).unwrap_or(Path::new("-"))
    }

    /// Reads all preferences and tokenises them as rows of at most `limit` tokens. Reports what is left out.
    ///
    /// # Errors
    /// [`Error::Data`] if nothing is left or the file is not a database; [`Error::Io`], [`Error::Template`].
    pub fn load(&self, shared: &Shared, codec: &TextCodec, limit: usize) -> Result<(Pairs, Left)> {
        let (Samples { samples, left_out }, mistakes, unit) = match &self.feedback {
            Some(path) => (Store::open(path)?.preferences()?, Tally::default(), "rating"),
            None => {
                let bar = output::bar(std::fs::metadata(self.path()).map_or(0, |data| data.len()), shared.quiet);
                bar.set_message("bytes");
                let read = preferences_of(self.path(), |bytes| bar.set_position(bytes))?;
                bar.finish_and_clear();
                read
            }
        };
        let pairs = rows(shared, &samples, codec, limit)?;
        let mut told = mistakes.lines(unit);
        told.extend(left_out.lines(unit));
        told.extend(pairs.left_out.lines("preference"));
        if pairs.pairs.is_empty() {
            let reason = if told.is_empty() { "there is none in the file".to_string() } else { told.join("; ") };
            let reason: Vec<_> = reason.split_whitespace().collect();
            return Err(Error::data(self.path(), format!("no preference to learn from: {}", reason.join(" "))));
        }
        if !told.is_empty() {
            let lines: String = told.iter().map(|line| format!("\n{}", output::harmless(line))).collect();
            shared.say(format_args!("left out:{lines}"));
        }
        if pairs.truncated > 0 {
            shared.say(format_args!("{} shortened at the front to fit --context", counted(pairs.truncated, "prompt")));
        }
        let unusable = pairs.left_out.clone();
        Ok((pairs, Left { mistakes, no_preference: left_out, unusable }))
    }
}

fn rows(shared: &Shared, samples: &[Preference], codec: &TextCodec, limit: usize) -> Result<Pairs> {
    let bar = output::bar(samples.len() as u64, shared.quiet);
    bar.set_message("preferences as tokens");
    let pairs = Pairs::new(samples, codec, limit, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    pairs
}
