//! Exports ratings to JSONL files.

use std::{io::Write, path::Path};

use serde::Serialize;
use serde_json::{Value, json};

use super::store::Store;
use wgpt::{
    Error, Result,
    feedback::{LeftOut, Preference, RatingSource, Samples, Tally, transcript},
    io::atomic,
};

/// The format of the lines; [`super::import::import`] reads each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"prompt", "chosen", "rejected"}`
    Pairs,
    /// `{"prompt", "answer", "score"}`
    Scores,
    /// `{"prompt", "answers", "best"}`
    BestOf,
    /// `{"chosen", "rejected"}` as transcripts
    HhRlhf,
    /// Complete ratings with rater, time, models and settings: nothing is lost.
    Ratings,
}

/// The result of an export.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// Lines written.
    pub written: u64,
    /// What yielded no line, and why; positions in the tally are ids of ratings.
    pub left_out: Tally<LeftOut>,
}

/// Writes all ratings that fit `format` to `path`, atomically.
///
/// # Errors
/// [`Error::Data`] if the database cannot be read, [`Error::Io`] if the file cannot be written.
pub fn export(store: &Store, path: &Path, format: Format) -> Result<Exported> {
    let (lines, left_out) = match format {
        Format::Pairs => each(
            store.preferences()?,
            |pair| json!({ "prompt": pair.prompt.to_json(), "chosen": pair.chosen, "rejected": pair.rejected }),
        ),
        Format::Scores => each(
            store.scored()?,
            |scored| json!({ "prompt": scored.prompt.to_json(), "answer": scored.answer, "score": scored.score }),
        ),
        Format::BestOf => each(
            store.best_of()?,
            |choice| json!({ "prompt": choice.prompt.to_json(), "answers": choice.answers, "best": choice.best }),
        ),
        Format::HhRlhf => transcripts(store.preferences_by_rating()?),
        Format::Ratings => ratings(store)?,
    };
    atomic::write_with(path, |file| {
        lines.iter().try_for_each(|line| writeln!(file, "{line}")).map_err(Error::io(path, "write"))
    })?;
    Ok(Exported { written: lines.len() as u64, left_out })
}

type Lines = (Vec<Value>, Tally<LeftOut>);

fn each<T>(samples: Samples<T>, line: impl FnMut(T) -> Value) -> Lines {
    (samples.samples.into_iter().map(line).collect(), samples.left_out)
}

fn transcripts(Samples { samples, mut left_out }: Samples<(u64, Preference)>) -> Lines {
    let mut lines = Vec::new();
    for (id, pair) in samples {
        let write = |answer: &str| transcript::write(&pair.prompt, answer);
        match (write(&pair.chosen), write(&pair.rejected)) {
            (Some(chosen), Some(rejected)) => lines.push(json!({ "chosen": chosen, "rejected": rejected })),
            _ => left_out.add(LeftOut::NoTranscript, id, ""),
        }
    }
    (lines, left_out)
}

fn ratings(store: &Store) -> Result<Lines> {
    let (mut lines, mut left_out) = (Vec::new(), Tally::default());
    store.each(|stored| {
        match &stored.rating {
            Ok(rating) => lines.push(rating.to_json()),
            Err(refusal) => left_out.add(LeftOut::Damaged, stored.id, refusal.to_string()),
        }
        Ok(())
    })?;
    Ok((lines, left_out))
}
