//! Endpoints of the page, beside OpenAI's.

pub mod about;
pub mod feedback;
pub mod inside;
pub mod rate;
pub mod reward;
pub mod runs;
pub mod tokenize;

use serde_json::{Value, json};

use crate::openai::logprobs::finite;
use wgpt::{infer::sampler::Candidate, text::Tokenizer};

/// `{"id", "text", "bytes"}`
fn token(tokenizer: &Tokenizer, id: u32) -> Value {
    json!({ "id": id, "text": tokenizer.token_text(id), "bytes": tokenizer.token_bytes(id) })
}

/// `{"id", "text", "bytes", "logprob"}`
fn likely(tokenizer: &Tokenizer, candidate: &Candidate) -> Value {
    let mut likely = token(tokenizer, candidate.id);
    likely["logprob"] = json!(finite(candidate.logprob));
    likely
}
