//! Reads ratings from JSONL files.

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

/// Length in bytes of the longest line accepted.
const LONGEST: u64 = 1 << 24;

/// Reads the ratings of a JSONL file, or of standard input if `path` is `-`. Calls `each` with the line number and the
/// rating, or the mistake that makes the line unusable. Returns the number of non-empty lines. Each line has one of
/// these forms, where a prompt is a string (one user message) or a list of `{"role", "content"}`:
///
/// - `{"prompt", "chosen", "rejected"}`: a pair
/// - `{"chosen", "rejected"}`: two hh-rlhf transcripts or two lists of messages that differ only in the last answer
/// - `{"prompt", "answer", "score"}`: a score
/// - `{"prompt", "answers": [..], "best": i}`: the best of several, counted from 0
/// - `{"kind", "prompt", "answers": [{"text", "value", "model", "sampling"}, ..]}`: a complete rating, as written by
///   `wgpt feedback export --format ratings` writes it
///
/// Each form may have "rater" and "time" (milliseconds since 1970 in UTC); `rater` is used for lines without a rater.
/// `progress` is called with the number of bytes read.
///
/// # Errors
/// [`Error::Io`], and the errors of `each`.
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
        // Some programs put a byte order mark at the start of a file.
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

/// Reads a line into `line` and returns its length in the file in bytes, 0 at the end. If the line is too long, `line`
/// gets a prefix that is also too long, and the rest is skipped.
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
