//! The small data that comes with wgpt: a chat model, a text, and words with scores.

/// A small chat model as a GGUF file; see `weights/README.md`.
pub const TALKER: &[u8] = include_bytes!("../weights/talker.gguf");

/// Shakespeare's plays, for pretraining.
pub const SHAKESPEARE: &str = include_str!("../data/shakespeare.txt");

/// Words with a score of how pleasant they are, tab-separated.
pub const SENTIMENT: &str = include_str!("../data/sentiment.tsv");
