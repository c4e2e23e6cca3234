//! A model's answers to many prompts.

use wgpt::{
    Error, Result,
    gpu::Gpu,
    infer::{
        batch::{Limits, Request, continue_all},
        sampler::Sampling,
    },
    interchange::TextCodec,
    model::Gpt,
    text::Message,
    train::{judge::ScoredAnswer, ppo::prompts::Prompt},
};

/// How answers are drawn.
#[derive(Clone, Copy)]
pub(crate) struct Drawing {
    pub max_tokens: usize,
    pub temperature: f32,
    pub seed: u64,
    /// Number of texts generated side by side.
    pub rows: usize,
}

/// An answer that was drawn.
pub(crate) struct Drawn {
    pub text: String,
    /// Whether the model ended it; otherwise it was cut off.
    pub ended: bool,
}

/// The most tokens of a prompt: those `wanted`, or what the context has room for beside an answer.
pub(crate) fn prompt_tokens(wanted: Option<usize>, context: usize, max_tokens: usize) -> Result<usize> {
    if max_tokens == 0 {
        return Err(Error::setting("max_tokens", 0, "give at least 1"));
    }
    let room = context.saturating_sub(max_tokens);
    match wanted.unwrap_or(room) {
        prompt if prompt > 0 && prompt <= room => Ok(prompt),
        _ if room == 0 => {
            let reason = format!("leaves no room for prompts in the model's context of {context}");
            Err(Error::setting("max_tokens", max_tokens, reason))
        }
        prompt => {
            let reason = format!("give 1 to {room}, so that an answer fits into the model's context of {context}");
            Err(Error::setting("prompt_tokens", prompt, reason))
        }
    }
}

/// The tokens with which the chat model reads each of `prompts` as a user's message.
pub(crate) fn asked(codec: &TextCodec, prompts: &[&str]) -> Result<Vec<Vec<u32>>> {
    let TextCodec { tokenizer, conventions } = codec;
    let template = conventions.chat(tokenizer)?;
    let ask = |prompt: &&str| tokenizer.encode_special(&template.render(&[Message::new("user", *prompt)], true)?);
    prompts.iter().map(ask).collect()
}

/// Samples one answer of the model to each of the prompts that [`asked`] has encoded.
pub(crate) async fn draw(
    gpu: &Gpu,
    model: &Gpt,
    codec: &TextCodec,
    asked: &[&[u32]],
    drawing: Drawing,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Drawn>> {
    let TextCodec { tokenizer, conventions } = codec;
    let sampling = Sampling { temperature: drawing.temperature, seed: drawing.seed, ..Sampling::default() };
    let limits = Limits { count: drawing.max_tokens, stops: &conventions.stops, earliest: 0, width: 0 };
    let mut texts = Vec::with_capacity(asked.len());
    for (batch, prompts) in asked.chunks(drawing.rows).enumerate() {
        let number = |index: usize| (batch * drawing.rows + index) as u64;
        let requests: Vec<_> =
            prompts.iter().enumerate().map(|(index, prompt)| Request { prompt, episode: number(index) }).collect();
        for answer in continue_all(gpu, model, &requests, limits, &sampling, |_| ()).await? {
            let end = answer.tokens.len() - usize::from(answer.stopped);
            texts.push(Drawn { text: tokenizer.decode(&answer.tokens[..end]), ended: answer.stopped });
        }
        progress(texts.len());
    }
    Ok(texts)
}

/// Answers to prompts, as judges read them.
pub(crate) fn scored<'a>(prompts: &[&'a Prompt], answers: &'a [String]) -> Vec<ScoredAnswer<'a>> {
    let one = |(prompt, answer): (&&'a Prompt, &'a String)| ScoredAnswer {
        prompt: &prompt.text,
        messages: &prompt.messages,
        answer,
        expected: prompt.expected.as_deref(),
    };
    prompts.iter().zip(answers).map(one).collect()
}
