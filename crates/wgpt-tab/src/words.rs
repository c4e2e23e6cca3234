//! Text generation piece by piece, and predictions of the next token.

use serde_json::{Value, json};
use wasm_bindgen::JsValue;
use wgpt::{
    gpu::Gpu,
    infer::{
        generate::{Limits, generate},
        sampler::{Sampling, top},
        session::Session,
    },
    model::Gpt,
    text::{StreamDecoder, Tokenizer},
};

use crate::problem::Result;

/// Passes a piece of text to the page; returns whether to continue.
pub fn tell(each: &js_sys::Function, piece: &str) -> bool {
    if piece.is_empty() {
        return true;
    }
    // A callback that throws ends the text.
    each.call1(&JsValue::NULL, &piece.into()).is_ok_and(|more| more != JsValue::FALSE)
}

/// Continues a prompt and returns the new text; `each` is called with it as it is generated.
pub async fn write(
    gpu: &Gpu,
    model: &Gpt,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    limits: Limits<'_>,
    sampling: &Sampling,
    each: &js_sys::Function,
) -> Result<String> {
    let (mut session, mut decoder) = (Session::new(gpu, model)?, StreamDecoder::new());
    let listener = |step: wgpt::infer::generate::Step<'_>| tell(each, &decoder.push(tokenizer, step.chosen.id));
    let generated = generate(&mut session, prompt, limits, sampling, |_, _| (), listener).await?;
    tell(each, &decoder.finish());
    Ok(tokenizer.decode(&generated.tokens))
}

/// The `count` likeliest tokens after a prompt: `[{"text", "probability"}]`.
pub async fn next(gpu: &Gpu, model: &Gpt, tokenizer: &Tokenizer, prompt: &[u32], count: usize) -> Result<String> {
    let mut session = Session::new(gpu, model)?;
    let logits = session.become_text(prompt, |_, _| ()).await?.to_f32().await?;
    let bar = |candidate: &wgpt::infer::sampler::Candidate| json!({ "text": tokenizer.token_text(candidate.id), "probability": f64::from(candidate.logprob).exp() });
    Ok(Value::Array(top(&logits, count, 1.0).iter().map(bar).collect()).to_string())
}
