//! Conversations, one JSON record each: `{"messages": [{"role": "user", "content": "Hi"}, ..]}`. Conversations that
//! cannot be used for training are left out, counted and explained.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;
use serde_json::Value;

use super::{
    DataFile,
    data_file::{LONGEST, Unreadable},
    messages::{self, Turn, Unclear},
};
use crate::{Error, Result};

/// Why a conversation was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mistake {
    /// The line is not valid JSON.
    NotJson,
    /// The line is too long.
    LongLine,
    /// There is no list "messages", or it is empty.
    NoMessages,
    /// A role other than system, user and assistant.
    UnknownRole,
    /// A content that is not a text.
    NotText,
    /// A field that changes what it means.
    Meaning,
    /// A weight other than 0 and 1.
    Weight,
    /// A system message that is not the first message.
    SystemNotFirst,
    /// An assistant message is empty.
    EmptyAnswer,
    /// There is no assistant message.
    NoAnswer,
    /// Every assistant message has the weight 0.
    NotLearned,
    /// The chat template refuses it.
    Refused,
    /// It contains a character that the tokenizer does not know.
    UnknownCharacter,
    /// The assistant's text cannot be found in the chat template's output.
    Untraceable,
    /// The window ends before the first answer.
    TooLong,
}

impl Mistake {
    /// The mistake in words that follow "left out because".
    pub fn words(self) -> &'static str {
        match self {
            Self::NotJson => "the line is not JSON",
            Self::LongLine => "the line is too long",
            Self::NoMessages => "it has no \"messages\"",
            Self::UnknownRole => "a role is not system, user or assistant",
            Self::NotText => "a content is not a text",
            Self::Meaning => "a field changes what it means, and a text cannot express that",
            Self::Weight => "a weight is neither 0 nor 1",
            Self::SystemNotFirst => "the system message is not the first",
            Self::EmptyAnswer => "an answer of the assistant is empty",
            Self::NoAnswer => "the assistant says nothing",
            Self::NotLearned => "every answer has the weight 0",
            Self::Refused => "the chat template refuses it",
            Self::UnknownCharacter => "the tokenizer does not know a character of it",
            Self::Untraceable => "the chat template does not show an answer as it stands",
            Self::TooLong => "no answer begins within the context",
        }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.words())
    }
}

/// A mistake, and how often it occurred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The kind of mistake.
    pub mistake: Mistake,
    /// Number of conversations with it.
    pub count: usize,
    /// Number of the record of the first occurrence, counted from 1.
    #[serde(rename = "line")]
    pub number: u64,
    /// What that number counts, such as "line".
    pub unit: &'static str,
    /// Details of the first occurrence.
    pub example: String,
}

/// The mistakes found in a file.
#[derive(Clone, Debug)]
pub struct Mistakes {
    found: BTreeMap<Mistake, Found>,
    unit: &'static str,
}

impl Default for Mistakes {
    fn default() -> Self {
        Self { found: BTreeMap::new(), unit: "line" }
    }
}

impl Mistakes {
    /// What the numbers of records count, such as "line".
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// Counts one mistake.
    pub fn add(&mut self, mistake: Mistake, number: u64, example: impl Into<String>) {
        let first = || Found { mistake, count: 0, number, unit: self.unit, example: example.into() };
        self.found.entry(mistake).or_insert_with(first).count += 1;
    }

    /// Number of conversations left out.
    pub fn count(&self) -> usize {
        self.found.values().map(|found| found.count).sum()
    }

    /// The mistakes found, one entry per kind.
    pub fn found(&self) -> Vec<Found> {
        self.found.values().cloned().collect()
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let detail = if self.example.is_empty() { String::new() } else { format!(": {}", self.example) };
        let Self { count, unit, number, .. } = self;
        write!(f, "{count} left out because {} (first in {unit} {number}{detail})", self.mistake.words())
    }
}

/// Reads the conversations of a data file one by one, cut after their last answer, and calls `each` with the number of the
/// record and the conversation. `each` may report a mistake too. Only one record is in memory at a time.
///
/// # Errors
/// [`Error::Data`] if there is no such file, the errors of [`DataFile::open`] and [`DataFile::records`], and those of `each`.
pub fn read(
    path: &Path,
    mistakes: &mut Mistakes,
    mut each: impl FnMut(&[Turn], u64, &mut Mistakes) -> Result<()>,
) -> Result<()> {
    if !path.exists() && path != Path::new("-") {
        return Err(Error::data(path, "no such file; give one with a record {\"messages\": [..]} per conversation"));
    }
    let file = DataFile::open(path)?;
    mistakes.unit = file.layout().unit();
    let unreadable = |unreadable| match unreadable {
        Unreadable::TooLong => (Mistake::LongLine, format!("more than {LONGEST} bytes")),
        Unreadable::NotJson(error) => (Mistake::NotJson, error),
    };
    file.records(
        |_| (),
        |number, record| {
            match record.map_err(unreadable).and_then(|record| parse(&record)) {
                Ok(turns) => each(&turns, number, mistakes)?,
                Err((mistake, example)) => mistakes.add(mistake, number, example),
            }
            Ok(())
        },
    )
}

/// What a record without messages is.
fn what_it_has(record: &Value) -> String {
    match record.as_object() {
        Some(fields) if fields.contains_key("messages") => "\"messages\" is not a list of objects".to_string(),
        Some(fields) => format!("it has {:?}", fields.keys().collect::<Vec<_>>()),
        None => messages::beginning(record),
    }
}

fn parse(record: &Value) -> Result<Vec<Turn>, (Mistake, String)> {
    let unclear = |unclear| match unclear {
        Unclear::NoList => (Mistake::NoMessages, what_it_has(record)),
        Unclear::Role(role) => (Mistake::UnknownRole, format!("{role:?}")),
        Unclear::Content(content) => (Mistake::NotText, content),
        Unclear::Field(name) => (Mistake::Meaning, format!("{name:?}")),
        Unclear::Weight(weight) => (Mistake::Weight, weight),
    };
    let mut turns = messages::turns(&record["messages"]).map_err(unclear)?;
    let system = messages::system(record).map_err(unclear)?;
    if turns.is_empty() {
        return Err((Mistake::NoMessages, String::new()));
    }
    if let Some(message) = system {
        turns.insert(0, Turn { message, learned: false });
    }
    for (index, Turn { message, .. }) in turns.iter().enumerate() {
        if message.role == "system" && index > 0 {
            return Err((Mistake::SystemNotFirst, format!("message {}", index + 1)));
        }
        if message.role == "assistant" && message.content.trim().is_empty() {
            return Err((Mistake::EmptyAnswer, format!("message {}", index + 1)));
        }
    }
    let answer = |turn: &Turn| turn.message.role == "assistant";
    turns.truncate(turns.iter().rposition(answer).ok_or((Mistake::NoAnswer, String::new()))? + 1);
    let learned = turns.iter().rposition(|turn| answer(turn) && turn.learned);
    turns.truncate(learned.ok_or((Mistake::NotLearned, String::new()))? + 1);
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_counted_with_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chats.jsonl");
        let turn = |role: &str, content: &str| format!(r#"{{"role":"{role}","content":"{content}"}}"#);
        let chat = |turns: &[String]| format!("{{\"messages\":[{}]}}", turns.join(","));
        let lines = [
            chat(&[turn("system", "Be brief."), turn("user", "Hi"), turn("assistant", "Hello"), turn("user", "?")]),
            "{\"messages\": [".into(),
            "{\"text\": \"no chat\"}".into(),
            String::new(),
            chat(&[turn("human", "Hi"), turn("assistant", "Hello")]),
            chat(&[turn("user", "Hi"), turn("assistant", " ")]),
            chat(&[turn("user", "Hi"), turn("assistant", "")]),
            chat(&[turn("user", "Hi"), turn("system", "late"), turn("assistant", "Hello")]),
            chat(&[turn("user", "Hi")]),
            r#"{"messages":[{"role":"user","content":[1]},{"role":"assistant","content":"x"}]}"#.into(),
            "\u{fffd}".into(),
            r#"{"messages":[{"role":"user","content":"4?"},{"role":"assistant","content":"x","tool_calls":[{}]}]}"#
                .into(),
            r#"{"messages":[{"role":"user","content":"4?"},{"role":"assistant","content":"x","weight":0}]}"#.into(),
            r#"{"messages":[{"role":"user","content":"4?"},{"role":"assistant","content":"x","weight":2}]}"#.into(),
            r#"{"messages":[{"role":"user","content":"4?"},{"role":"assistant","content":"x"}],"tools":[{}]}"#.into(),
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let (mut mistakes, mut good) = (Mistakes::default(), Vec::new());
        read(&path, &mut mistakes, |messages, line, _| {
            good.push((messages.len(), line));
            Ok(())
        })
        .unwrap();
        assert_eq!(good, [(3, 1)], "cut after the last answer");
        let found: Vec<_> = mistakes.found().iter().map(|f| (f.mistake, f.count, f.number)).collect();
        let expected = [
            (Mistake::NotJson, 2, 2),
            (Mistake::NoMessages, 1, 3),
            (Mistake::UnknownRole, 1, 5),
            (Mistake::NotText, 1, 10),
            (Mistake::Meaning, 2, 12),
            (Mistake::Weight, 1, 14),
            (Mistake::SystemNotFirst, 1, 8),
            (Mistake::EmptyAnswer, 2, 6),
            (Mistake::NoAnswer, 1, 9),
            (Mistake::NotLearned, 1, 13),
        ];
        assert_eq!(found, expected);
        let words = mistakes.found()[2].to_string();
        assert!(words.contains("line 5") && words.contains("human"), "{words}");
        assert!(read(&dir.path().join("none"), &mut mistakes, |_, _, _| Ok(())).is_err());
    }
}
