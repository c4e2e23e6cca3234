//! Reads prompts and answers from JSONL files for scoring by a reward model; any verdicts in them are ignored.

use std::path::Path;

use super::{
    lines::{self, Task},
    tally::{Mistake, Tally},
};
use crate::{Error, Result};

/// A line's number, from 1, and its content.
pub type Line = (usize, Task);

/// Reads the prompts and answers of a JSONL file with their line numbers. A line is `{"prompt", "answer"}`, `{"prompt",
/// "answers"}` or a pair in one of the forms that an import accepts ([`super::read`]), chosen before rejected. Lines
/// with mistakes are counted.
///
/// # Errors
/// [`Error::Data`] with all reasons if no line can be used, [`Error::Io`].
pub fn answered(path: &Path) -> Result<(Vec<Line>, Tally<Mistake>)> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let (mut tasks, mut mistakes) = (Vec::new(), Tally::default());
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match lines::answered(line) {
            Ok(task) => tasks.push((index + 1, task)),
            Err(refusal) => mistakes.add(refusal.mistake, index as u64 + 1, refusal.detail),
        }
    }
    if tasks.is_empty() {
        let reason = "no answers: give lines of {\"prompt\": ..., \"answer\": ...} or \"answers\": [...]".to_string();
        let all: Vec<_> = std::iter::once(reason).chain(mistakes.lines("line")).collect();
        return Err(Error::data(path, all.join("\n")));
    }
    Ok((tasks, mistakes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let text = r#"{"prompt": "Why?", "answer": "So."}
{"prompt": "Why?", "answers": ["a", "b", "a"]}

{"prompt": "Why?", "chosen": "So.", "rejected": "No."}
{"prompt": "Why?", "answers": []}
{"prompt": "Why?"}
"#;
        std::fs::write(&path, text).unwrap();
        let (tasks, mistakes) = answered(&path).unwrap();
        let counts: Vec<_> = tasks.iter().map(|(line, task)| (*line, task.answers.len())).collect();
        assert_eq!(counts, [(1, 1), (2, 3), (4, 2)]);
        assert_eq!(mistakes.count(Mistake::AnswerCount), 1);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(answered(&path).unwrap_err().to_string().contains("no answers"));
    }
}
