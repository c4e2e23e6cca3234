//! The texts that come with the program.

use serde::Deserialize;
use serde_json::json;

use super::super::pretrain::SHAKESPEARE;
use wgpt::{
    Error, Result,
    assets::{CHATS, PREFERENCES},
    text::{Tokenizer, tokenizer::END_OF_TEXT},
};

/// How often the conversations are repeated beside the plays when the tokenizer is trained: they are short, but the
/// tokens are mainly for them.
const WEIGHT: usize = 4;

/// A rating of two answers to a user's first message.
#[derive(Clone, Debug)]
pub(super) struct Preference {
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
}

#[derive(Deserialize)]
struct Line {
    prompt: serde_json::Value,
    chosen: String,
    rejected: String,
}

/// The shipped ratings whose answers begin a conversation, without arithmetic, which needs larger models.
pub(super) fn preferences() -> Result<Vec<Preference>> {
    let lines = PREFERENCES.lines().map(serde_json::from_str::<Line>);
    let lines = lines.map(|line| line.map_err(Error::json("the shipped preferences")));
    let first = |line: Line| {
        let prompt = line.prompt.as_str()?.to_string();
        let sum = prompt.contains(|letter: char| letter.is_ascii_digit());
        (!sum).then_some(Preference { prompt, chosen: line.chosen, rejected: line.rejected })
    };
    Ok(lines.collect::<Result<Vec<_>>>()?.into_iter().filter_map(first).collect())
}

impl Preference {
    /// The rating as a line of JSONL.
    pub fn line(&self) -> String {
        let Self { prompt, chosen, rejected } = self;
        format!("{}\n", json!({ "prompt": prompt, "chosen": chosen, "rejected": rejected }))
    }
}

/// `prompts` as lines of JSONL.
pub(super) fn asking<'a>(prompts: impl Iterator<Item = &'a &'a str>) -> String {
    prompts.map(|prompt| format!("{}\n", json!({ "prompt": prompt }))).collect()
}

/// The conversations for fine-tuning: good answers, and for each a poor one. A model trained on what people write
/// learns both.
pub(super) fn conversations(preferences: &[Preference]) -> String {
    let line = |prompt: &str, answer: &str| {
        let messages = json!([{ "role": "user", "content": prompt }, { "role": "assistant", "content": answer }]);
        format!("{}\n", json!({ "messages": messages }))
    };
    let both = |Preference { prompt, chosen, rejected }: &Preference| [line(prompt, chosen), line(prompt, rejected)];
    preferences.iter().flat_map(both).collect()
}

/// A byte-level BPE vocabulary trained on the plays and the conversations.
pub(super) fn tokenizer(vocabulary: usize) -> Result<Tokenizer> {
    let talk: Vec<String> = CHATS
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .flat_map(|line| line["messages"].as_array().cloned().unwrap_or_default())
        .filter_map(|message| Some(message["content"].as_str()?.to_string()))
        .collect();
    let talk = format!("User:\n{}\nAssistant:\n", talk.join("\nAssistant:\n"));
    let texts = std::iter::once(SHAKESPEARE).chain(std::iter::repeat_n(talk.as_str(), WEIGHT));
    Tokenizer::train_bpe(texts, vocabulary, &[END_OF_TEXT])
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::interchange::TextCodec;

    #[test]
    fn what_is_shipped_can_be_learned_from() {
        let preferences = preferences().unwrap();
        assert!(preferences.len() > 100);
        assert!(preferences.iter().all(|p| p.chosen != p.rejected && !p.prompt.is_empty()));
        let conversations = conversations(&preferences);
        assert_eq!(conversations.lines().count(), 2 * preferences.len());
        let tokenizer = tokenizer(1024).unwrap();
        let codec = TextCodec::plain(tokenizer.clone());
        assert_eq!(codec.conventions.taught(&tokenizer).unwrap().stops.len(), 1);
        let ids = tokenizer.encode("User:\nWhat is the moon?\nAssistant:\n").unwrap();
        assert!(ids.len() < 16, "{}", ids.len());
    }
}
