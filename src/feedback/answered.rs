//! Reads prompts and answers from data files for scoring by a reward model; any verdicts in them are ignored.

use std::path::Path;

use super::{
    lines::{self, Task},
    tally::{Mistake, Refusal, Tally},
};
use crate::{Error, Result, text::DataFile};

/// The prompts and answers of a data file.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Each with the number of its record.
    pub tasks: Vec<(u64, Task)>,
    /// The records that are none.
    pub mistakes: Tally<Mistake>,
    /// What the numbers of records count, such as "line".
    pub unit: &'static str,
}

/// Reads the prompts and answers of a data file. A record is `{"prompt", "answer"}`, `{"prompt", "answers"}` or a pair in one
/// of the forms that an import accepts ([`super::read`]), chosen before rejected. Records with mistakes are counted.
///
/// # Errors
/// [`Error::Data`] with all reasons if no record can be used; the errors of [`DataFile::open`] and [`DataFile::records`].
pub fn answered(path: &Path) -> Result<Answered> {
    let file = DataFile::open(path)?;
    let unit = file.layout().unit();
    let (mut tasks, mut mistakes) = (Vec::new(), Tally::default());
    file.records(
        |_| (),
        |number, record| {
            match record.map_err(Refusal::from).and_then(|record| lines::answered(&record)) {
                Ok(task) => tasks.push((number, task)),
                Err(refusal) => mistakes.add(refusal.mistake, number, refusal.detail),
            }
            Ok(())
        },
    )?;
    if tasks.is_empty() {
        let reason = "no answers: give records of {\"prompt\": ..., \"answer\": ...} or \"answers\": [...]".to_string();
        let all: Vec<_> = std::iter::once(reason).chain(mistakes.lines(unit)).collect();
        return Err(Error::data(path, all.join("\n")));
    }
    Ok(Answered { tasks, mistakes, unit })
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
        let Answered { tasks, mistakes, unit } = answered(&path).unwrap();
        assert_eq!(unit, "line");
        let counts: Vec<_> = tasks.iter().map(|(line, task)| (*line, task.answers.len())).collect();
        assert_eq!(counts, [(1, 1), (2, 3), (4, 2)]);
        assert_eq!(mistakes.count(Mistake::AnswerCount), 1);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(answered(&path).unwrap_err().to_string().contains("no answers"));
    }
}
