//! What the demo's models learn from: conversations, ratings, and the vocabulary for them.

use serde_json::json;

use super::{
    super::pretrain::SHAKESPEARE,
    questions::{Poor, Question, Questions, Wording},
};
use wgpt::{
    Result, random,
    text::{Tokenizer, tokenizer::END_OF_TEXT},
};

/// How many questions the tokenizer is trained on, beside the plays, for each token of its vocabulary.
const QUESTIONS: usize = 12;

/// Random streams: the questions of the conversations, which of them are answered poorly, and how long they are.
const TALK: u64 = u64::from_le_bytes(*b"demo tal");
const POOR: u64 = u64::from_le_bytes(*b"demo poo");
const LENGTH: u64 = u64::from_le_bytes(*b"demo len");

/// The poor answers that people give: most lack manners, few misunderstand.
const SAID: Poor = Poor { unfriendly: 0.5, other: 0.25 };

/// A rating of two answers to a user's message, as a line of JSONL.
pub(super) fn preference(prompt: &str, chosen: &str, rejected: &str) -> String {
    format!("{}\n", json!({ "prompt": prompt, "chosen": chosen, "rejected": rejected }))
}

/// The prompts of `questions` as lines of JSONL, each with what an acceptable answer has in it.
pub(super) fn asking<'a>(questions: impl IntoIterator<Item = &'a Question>) -> String {
    questions
        .into_iter()
        .map(|question| format!("{}\n", json!({ "prompt": question.prompt, "answer": question.expected() })))
        .collect()
}

/// `count` conversations of up to `turns` questions for fine-tuning, as JSONL. A share of the answers is poor: a model
/// trained on what people write learns both.
pub(super) fn conversations(questions: &Questions, count: usize, turns: usize, poor: f64, seed: u64) -> String {
    let exchange = |number: u64| {
        let question = questions.question(Wording::Taught, TALK, number);
        let answer = match random::uniform(seed, POOR, number) < poor {
            true => questions.poor(&question, SAID, POOR, number),
            false => question.answer,
        };
        [json!({ "role": "user", "content": question.prompt }), json!({ "role": "assistant", "content": answer })]
    };
    let line = |number: u64| {
        // Most people ask once.
        let first = number * turns as u64;
        let further = (random::uniform(seed, LENGTH, number).powi(2) * turns as f64) as u64;
        let messages: Vec<_> = (first..=first + further).flat_map(exchange).collect();
        format!("{}\n", json!({ "messages": messages }))
    };
    (0..count as u64).map(line).collect()
}

/// A byte-level BPE vocabulary trained on the plays and on conversations.
pub(super) fn tokenizer(questions: &Questions, vocabulary: usize) -> Result<Tokenizer> {
    let said = |number| {
        let Question { prompt, answer, .. } = questions.question(Wording::Taught, TALK, number);
        format!("User:\n{prompt}\nAssistant:\n{answer}\n")
    };
    let talk: String = (0..(QUESTIONS * vocabulary) as u64).map(said).collect();
    Tokenizer::train_bpe([SHAKESPEARE, &talk].into_iter(), vocabulary, &[END_OF_TEXT])
}

#[cfg(test)]
mod tests {
    use super::super::questions::Balance;
    use super::*;
    use wgpt::interchange::TextCodec;

    #[test]
    fn conversations_can_be_learned_from() {
        let questions = Questions::new(1, &[], Some(4), Balance::Entries, 7).unwrap();
        let talk = conversations(&questions, 300, 3, 0.5, 7);
        let lines: Vec<serde_json::Value> = talk.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let turns: Vec<_> = lines.iter().map(|line| line["messages"].as_array().unwrap().len()).collect();
        assert!(lines.len() == 300 && [2, 4, 6].iter().all(|length| turns.contains(length)), "{turns:?}");
        let tokenizer = tokenizer(&questions, 1024).unwrap();
        let codec = TextCodec::plain(tokenizer.clone());
        assert_eq!(codec.conventions.taught(&tokenizer).unwrap().stops.len(), 1);
        let ids = tokenizer.encode("User:\nWhat is the capital of France?\nAssistant:\n").unwrap();
        assert!(ids.len() < 18, "{}", ids.len());
    }
}
