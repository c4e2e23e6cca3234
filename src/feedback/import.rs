//! Ratings from JSONL files.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde::Serialize;

use super::{
    lines,
    rating::Rating,
    store::Store,
    tally::{Mistake, Refusal, Tally},
};
use crate::{Error, Result};

/// Ratings per transaction: few enough that other writers get their turn, enough that the disk is not asked too often.
const BATCH: usize = 256;

/// Bytes of the longest line that is read.
const LONGEST: u64 = 1 << 24;

/// What an import did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Imported {
    /// Lines that are not empty.
    pub lines: u64,
    /// Ratings that are new.
    pub added: u64,
    /// Ratings that were there already, or twice in the file.
    pub duplicates: u64,
    /// Lines that are no ratings, by the kind of mistake.
    pub mistakes: Tally<Mistake>,
}

/// Reads the ratings of a JSONL file, or of the standard input where `path` is `-`, and hands each to `each` with the number
/// of its line, or the mistake that keeps it from being one. Returns how many lines are not empty. Each line has one of
/// these forms, where a prompt is a string (one user message) or a list of `{"role", "content"}`:
///
/// - `{"prompt", "chosen", "rejected"}`: a pair
/// - `{"chosen", "rejected"}`: two hh-rlhf transcripts or two lists of messages, the same but for the last answer
/// - `{"prompt", "answer", "score"}`: a score
/// - `{"prompt", "answers": [..], "best": i}`: the best of several, counted from 0
/// - `{"kind", "prompt", "answers": [{"text", "value", "model", "sampling"}, ..]}`: a whole rating, as
///   [`super::export::Format::Ratings`] writes it
///
/// "rater" and "time" (milliseconds since 1970 in UTC) may be said in each; `rater` stands for those that do not say.
/// `progress` hears how many bytes are read.
///
/// # Errors
/// [`Error::Io`], and those of `each`.
pub fn read(
    path: &Path,
    rater: &str,
    mut progress: impl FnMut(u64),
    mut each: impl FnMut(u64, Result<Rating, Refusal>) -> Result<()>,
) -> Result<u64> {
    let input: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(path).map_err(Error::io(path, "open"))?),
    };
    let mut reader = BufReader::with_capacity(1 << 20, input);
    let (mut line, mut number, mut lines, mut bytes) = (Vec::new(), 0, 0, 0);
    loop {
        let read = next_line(&mut reader, &mut line).map_err(Error::io(path, "read"))?;
        if read == 0 {
            return Ok(lines);
        }
        bytes += read;
        number += 1;
        progress(bytes);
        // Some programs begin a file with a byte order mark.
        let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if text.trim_ascii().is_empty() {
            continue;
        }
        lines += 1;
        let rating = match line.len() as u64 > LONGEST {
            true => Err(Refusal::new(Mistake::TooLong, format!("more than {LONGEST} bytes"))),
            false => lines::rating(text, rater),
        };
        each(number, rating)?;
    }
}

/// Stores the ratings of a JSONL file; see [`read`].
///
/// # Errors
/// [`Error::Io`], [`Error::Data`]; what was read in whole batches before is stored then. Mistakes in lines are counted,
/// not errors.
pub fn import(store: &mut Store, path: &Path, rater: &str, progress: impl FnMut(u64)) -> Result<Imported> {
    let (mut done, mut batch) = (Imported::default(), Vec::new());
    done.lines = read(path, rater, progress, |number, rating| {
        match rating {
            Ok(rating) => batch.push(rating),
            Err(refusal) => done.mistakes.add(refusal.mistake, number, refusal.detail),
        }
        if batch.len() == BATCH {
            flush(store, &mut batch, &mut done)?;
        }
        Ok(())
    })?;
    flush(store, &mut batch, &mut done)?;
    Ok(done)
}

fn flush(store: &mut Store, batch: &mut Vec<Rating>, done: &mut Imported) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let added = store.add_all(batch)?;
    done.added += added as u64;
    done.duplicates += (batch.len() - added) as u64;
    batch.clear();
    Ok(())
}

/// Reads a line into `line` and returns the bytes that it takes in the file, 0 at the end. Of a line that is too long,
/// `line` holds a beginning that is too long as well; the rest is passed over.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<u64> {
    line.clear();
    let mut bytes = reader.by_ref().take(LONGEST + 1).read_until(b'\n', line)? as u64;
    while bytes > LONGEST && line.last() != Some(&b'\n') {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let passed = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(passed);
        bytes += passed as u64;
        if end.is_some() || passed == 0 {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_counted_with_their_first_line_and_duplicates_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.jsonl");
        let good = r#"{"prompt": "Why?", "chosen": "So.", "rejected": "No."}"#;
        let same = r#"{"prompt": "Why?", "chosen": "So.", "rejected": "So."}"#;
        let long = format!("{{\"prompt\": \"{}\"}}", "x".repeat(LONGEST as usize));
        std::fs::write(&path, format!("\u{feff}{good}\r\n\n{same}\nnonsense\n{long}\n{good}\n{same}")).unwrap();
        let mut store = Store::create(&dir.path().join("f")).unwrap();
        let mut heard = 0;
        let done = import(&mut store, &path, "file", |bytes| heard = bytes).unwrap();
        assert_eq!((done.lines, done.added, done.duplicates), (6, 1, 1));
        let mistakes: Vec<_> =
            done.mistakes.iter().map(|(mistake, count)| (mistake, count.count, count.first)).collect();
        assert_eq!(mistakes, [(Mistake::NotJson, 1, 4), (Mistake::TooLong, 1, 5), (Mistake::EqualAnswers, 2, 3)]);
        assert_eq!(heard, std::fs::metadata(&path).unwrap().len());
        let again = import(&mut store, &path, "file", |_| ()).unwrap();
        assert_eq!((again.added, again.duplicates, store.count().unwrap()), (0, 2, 1));
        assert_eq!(import(&mut store, &path, "somebody else", |_| ()).unwrap().added, 1);
    }
}
