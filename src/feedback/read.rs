//! Reads ratings from data files.

use std::path::Path;

use super::{lines, rating::Rating, tally::Refusal};
use crate::{Result, text::DataFile};

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// Number of records.
    pub count: u64,
    /// What the numbers of records count, such as "line".
    pub unit: &'static str,
}

/// Reads the ratings of a data file, or of standard input if `path` is `-`; see [`DataFile`]. Calls `each` with the number of
/// the record and the rating, or the mistake that makes the record unusable. Each record has one of these forms, where a prompt
/// is a string (one user message) or a list of `{"role", "content"}`:
///
/// - `{"prompt", "chosen", "rejected"}`: a pair
/// - `{"chosen", "rejected"}`: two hh-rlhf transcripts or two lists of messages that differ only in the last answer
/// - `{"prompt", "answer", "score"}`: a score
/// - `{"prompt", "answers": [..], "best": i}`: the best of several, counted from 0
/// - `{"prompt", "completion", "label"}`: a score of 1 for true and 0 for false
/// - `{"kind", "prompt", "answers": [{"text", "value", "model", "sampling"}, ..]}`: a complete rating, as
///   `wgpt feedback export --format ratings` writes it
///
/// "rejected" may be a list of answers, "question" stands for the prompt where there is none, and "system" is a system message
/// before it. Each form may have "rater" and "time" (milliseconds since 1970, or a date); `rater` is used for records without.
/// `progress` is called with the number of bytes read.
///
/// # Errors
/// The errors of [`DataFile::open`] and [`DataFile::records`], and those of `each`.
pub fn read(
    path: &Path,
    rater: &str,
    progress: impl FnMut(u64),
    mut each: impl FnMut(u64, Result<Rating, Refusal>) -> Result<()>,
) -> Result<Records> {
    let file = DataFile::open(path)?;
    let mut records = Records { count: 0, unit: file.layout().unit() };
    file.records(progress, |number, record| {
        records.count += 1;
        each(number, record.map_err(Refusal::from).and_then(|record| lines::rating(&record, rater)))
    })?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{feedback::Mistake, text::data_file::LONGEST};

    #[test]
    fn mistakes_come_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.jsonl");
        let good = r#"{"prompt": "Why?", "chosen": "So.", "rejected": "No."}"#;
        let long = format!("{{\"prompt\": \"{}\"}}", "x".repeat(LONGEST as usize));
        std::fs::write(&path, format!("\u{feff}{good}\r\n\nnonsense\n{long}\n{good}")).unwrap();
        let (mut progress, mut found) = (0, Vec::new());
        let each = |line, rating: Result<Rating, Refusal>| {
            found.push((line, rating.map(|_| ()).map_err(|refusal| refusal.mistake)));
            Ok(())
        };
        let records = read(&path, "file", |bytes| progress = bytes, each).unwrap();
        assert_eq!(records, Records { count: 4, unit: "line" });
        assert_eq!(found, [(1, Ok(())), (3, Err(Mistake::NotJson)), (4, Err(Mistake::TooLong)), (5, Ok(()))]);
        assert_eq!(progress, std::fs::metadata(&path).unwrap().len());
    }
}
