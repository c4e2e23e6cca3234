//! The ratings of JSONL files.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{
    lines,
    rating::Rating,
    tally::{Mistake, Refusal},
};
use crate::{Error, Result};

/// Bytes of the longest line that is read.
const LONGEST: u64 = 1 << 24;

/// Reads the ratings of a JSONL file, or of the standard input where `path` is `-`, and hands each to `each` with the number
/// of its line, or the mistake that keeps it from being one. Returns how many lines are not empty. Each line has one of
/// these forms, where a prompt is a string (one user message) or a list of `{"role", "content"}`:
///
/// - `{"prompt", "chosen", "rejected"}`: a pair
/// - `{"chosen", "rejected"}`: two hh-rlhf transcripts or two lists of messages, the same but for the last answer
/// - `{"prompt", "answer", "score"}`: a score
/// - `{"prompt", "answers": [..], "best": i}`: the best of several, counted from 0
/// - `{"kind", "prompt", "answers": [{"text", "value", "model", "sampling"}, ..]}`: a whole rating, as
///   `wgpt feedback export --format ratings` writes it
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
        let lines = read(&path, "file", |bytes| progress = bytes, each).unwrap();
        assert_eq!(lines, 4);
        assert_eq!(found, [(1, Ok(())), (3, Err(Mistake::NotJson)), (4, Err(Mistake::TooLong)), (5, Ok(()))]);
        assert_eq!(progress, std::fs::metadata(&path).unwrap().len());
    }
}
