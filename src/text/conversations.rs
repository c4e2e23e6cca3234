//! Conversations, one JSON object per line: `{"messages": [{"role": "user", "content": "Hi"}, ..]}`. Conversations that
//! cannot be used for training are left out, counted and explained.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::Serialize;
use serde_json::Value;

use super::Message;
use crate::{Error, Result};

/// Why a conversation was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mistake {
    /// The line is not valid JSON.
    NotJson,
    /// There is no list "messages", or it is empty.
    NoMessages,
    /// A role other than system, user and assistant.
    UnknownRole,
    /// A content that is not a string.
    NotText,
    /// A system message that is not the first message.
    SystemNotFirst,
    /// An assistant message is empty.
    EmptyAnswer,
    /// There is no assistant message.
    NoAnswer,
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
            Self::NoMessages => "it has no \"messages\"",
            Self::UnknownRole => "a role is not system, user or assistant",
            Self::NotText => "a content is not a text",
            Self::SystemNotFirst => "the system message is not the first",
            Self::EmptyAnswer => "an answer of the assistant is empty",
            Self::NoAnswer => "the assistant says nothing",
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
    /// Line of the first occurrence, counted from 1.
    pub line: usize,
    /// Details of the first occurrence.
    pub example: String,
}

/// The mistakes found in a file.
#[derive(Clone, Debug, Default)]
pub struct Mistakes(BTreeMap<Mistake, Found>);

impl Mistakes {
    /// Counts one mistake.
    pub fn add(&mut self, mistake: Mistake, line: usize, example: impl Into<String>) {
        let first = || Found { mistake, count: 0, line, example: example.into() };
        self.0.entry(mistake).or_insert_with(first).count += 1;
    }

    /// Number of conversations left out.
    pub fn count(&self) -> usize {
        self.0.values().map(|found| found.count).sum()
    }

    /// The mistakes found, one entry per kind.
    pub fn found(&self) -> Vec<Found> {
        self.0.values().cloned().collect()
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let detail = if self.example.is_empty() { String::new() } else { format!(": {}", self.example) };
        write!(f, "{} left out because {} (first in line {}{detail})", self.count, self.mistake.words(), self.line)
    }
}

/// Reads the conversations of a file one by one, cut after their last answer, and calls `each` with the line number and
/// the conversation. `each` may report a mistake too. Only one line is in memory at a time.
///
/// # Errors
/// [`Error::Data`] if there is no such file, [`Error::Io`], and the errors of `each`.
pub fn read(
    path: &Path,
    mistakes: &mut Mistakes,
    mut each: impl FnMut(&[Message], usize, &mut Mistakes) -> Result<()>,
) -> Result<()> {
    if !path.is_file() {
        return Err(Error::data(path, "no such file; give one with a line {\"messages\": [..]} per conversation"));
    }
    let mut reader = BufReader::new(File::open(path).map_err(Error::io(path, "open"))?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(Error::io(path, "read"))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(&line) {
            Ok(messages) => each(&messages, number, mistakes)?,
            Err((mistake, example)) => mistakes.add(mistake, number, example),
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Vec<Message>, (Mistake, String)> {
    let value: Value = serde_json::from_slice(line).map_err(|e| (Mistake::NotJson, e.to_string()))?;
    let turns = value["messages"].as_array().filter(|turns| !turns.is_empty());
    let mut messages = Vec::new();
    for (index, turn) in turns.ok_or((Mistake::NoMessages, String::new()))?.iter().enumerate() {
        let role = turn["role"].as_str().unwrap_or_default();
        if !["system", "user", "assistant"].contains(&role) {
            return Err((Mistake::UnknownRole, format!("{:?}", short(&turn["role"]))));
        }
        let content = match &turn["content"] {
            Value::String(content) => content.as_str(),
            Value::Null => "",
            other => return Err((Mistake::NotText, short(other))),
        };
        if role == "system" && index > 0 {
            return Err((Mistake::SystemNotFirst, format!("message {}", index + 1)));
        }
        if role == "assistant" && content.trim().is_empty() {
            return Err((Mistake::EmptyAnswer, format!("message {}", index + 1)));
        }
        messages.push(Message::new(role, content));
    }
    let last = messages.iter().rposition(|message| message.role == "assistant");
    messages.truncate(last.ok_or((Mistake::NoAnswer, String::new()))? + 1);
    Ok(messages)
}

/// The beginning of a value, for error messages.
fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    text.chars().take(40).collect()
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
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let (mut mistakes, mut good) = (Mistakes::default(), Vec::new());
        read(&path, &mut mistakes, |messages, line, _| {
            good.push((messages.len(), line));
            Ok(())
        })
        .unwrap();
        assert_eq!(good, [(3, 1)], "cut after the last answer");
        let found: Vec<_> = mistakes.found().iter().map(|f| (f.mistake, f.count, f.line)).collect();
        let expected = [
            (Mistake::NotJson, 2, 2),
            (Mistake::NoMessages, 1, 3),
            (Mistake::UnknownRole, 1, 5),
            (Mistake::NotText, 1, 10),
            (Mistake::SystemNotFirst, 1, 8),
            (Mistake::EmptyAnswer, 2, 6),
            (Mistake::NoAnswer, 1, 9),
        ];
        assert_eq!(found, expected);
        let words = mistakes.found()[2].to_string();
        assert!(words.contains("line 5") && words.contains("human"), "{words}");
        assert!(read(&dir.path().join("none"), &mut mistakes, |_, _, _| Ok(())).is_err());
    }
}
