//! OpenAI's endpoints.

pub mod ask;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod envelope;
pub mod logprobs;
pub mod models;
pub mod options;
pub mod stream;
