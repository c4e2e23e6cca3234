//! The model's answers to the same prompts after each stage.

use std::path::Path;

use super::questions::Question;
use wgpt::{
    Result,
    gpu::Gpu,
    infer::{
        batch::{Limits, Request, continue_all},
        sampler::Sampling,
    },
    interchange::{TextCodec, load},
    model::build::Storage,
    text::Message,
    train::reward::RewardModel,
};

/// The sampling settings of answers.
#[derive(Clone, Copy)]
pub(super) struct Drawn {
    pub max_tokens: usize,
    pub temperature: f32,
    pub seed: u64,
    /// Number of texts generated side by side.
    pub rows: usize,
}

/// An answer that can be scored.
pub(super) struct ScorableAnswer<'a> {
    pub question: &'a Question,
    pub answer: &'a str,
}

/// Samples one answer of the model at `path` to each of `prompts`, using `codec`.
pub(super) async fn draw(
    gpu: &Gpu,
    path: &Path,
    codec: &TextCodec,
    prompts: &[&str],
    drawn: Drawn,
    mut progress: impl FnMut(usize),
) -> Result<Vec<String>> {
    let model = load::frozen(gpu, path, Storage::AsStored, |_, _| ())?;
    let TextCodec { tokenizer, conventions } = codec;
    let template = conventions.chat(tokenizer)?;
    let ask = |prompt: &&str| tokenizer.encode_special(&template.render(&[Message::new("user", *prompt)], true)?);
    let asked = prompts.iter().map(ask).collect::<Result<Vec<_>>>()?;
    let sampling = Sampling { temperature: drawn.temperature, seed: drawn.seed, ..Sampling::default() };
    let limits = Limits { count: drawn.max_tokens, stops: &conventions.stops, earliest: 0, width: 0 };
    let mut texts = Vec::with_capacity(prompts.len());
    for (batch, prompts) in asked.chunks(drawn.rows).enumerate() {
        let number = |index: usize| (batch * drawn.rows + index) as u64;
        let requests: Vec<_> =
            prompts.iter().enumerate().map(|(index, prompt)| Request { prompt, episode: number(index) }).collect();
        for answer in continue_all(gpu, &model, &requests, limits, &sampling, |_| ()).await? {
            let end = answer.tokens.len() - usize::from(answer.stopped);
            texts.push(tokenizer.decode(&answer.tokens[..end]));
        }
        progress(texts.len());
    }
    Ok(texts)
}

/// The rewards of answers.
pub(super) async fn rewards(judge: &RewardModel, said: &[ScorableAnswer<'_>]) -> Result<Vec<f32>> {
    let text = |said: &ScorableAnswer<'_>| {
        (vec![Message::new("user", said.question.prompt.as_str())], said.answer.to_string())
    };
    judge.score(&said.iter().map(text).collect::<Vec<_>>()).await
}
