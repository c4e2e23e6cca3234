//! The small data that comes with wgpt: a chat model, the texts it was trained on, and preferences.

/// A small chat model as a GGUF file; see `weights/README.md`.
pub const TALKER: &[u8] = include_bytes!("../weights/talker.gguf");

/// Shakespeare's plays, for pretraining.
pub const SHAKESPEARE: &str = include_str!("../data/shakespeare.txt");

/// Short conversations for fine-tuning, one JSON object per line.
pub const CHATS: &str = include_str!("../data/chats.jsonl");

/// Prompts with a preferred and a rejected answer, one JSON object per line.
pub const PREFERENCES: &str = include_str!("../data/preferences.jsonl");

/// Words with a score of how pleasant they are, tab-separated.
pub const SENTIMENT: &str = include_str!("../data/sentiment.tsv");
