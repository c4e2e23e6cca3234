//! A model's answers to many prompts.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::super::Shared;
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
    train::{
        judge::ScoredAnswer,
        ppo::prompts::{Prompt, Prompts},
    },
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

/// How long prompts and answers may be, and how answers are sampled.
#[derive(Clone, Debug, Args)]
pub(crate) struct AnswerArguments {
    /// Temperature of sampling
    #[arg(long, default_value_t = 0.8)]
    pub temperature: f32,
    /// Maximum number of tokens in a prompt [default: what the context has room for beside an answer]
    #[arg(long)]
    prompt_tokens: Option<usize>,
    /// Maximum number of tokens in an answer
    #[arg(long, default_value_t = 64)]
    pub max_tokens: usize,
}

impl AnswerArguments {
    /// The most tokens of a prompt for a model with this context.
    pub fn prompt_tokens(&self, context: usize) -> Result<usize> {
        let max_tokens = self.max_tokens;
        if max_tokens == 0 {
            return Err(Error::setting("max_tokens", 0, "give at least 1"));
        }
        let room = context.saturating_sub(max_tokens);
        match self.prompt_tokens.unwrap_or(room) {
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
}

/// The prompts in a file, at most `width` tokens each. Says what is left out.
pub(crate) fn listed(shared: &Shared, path: &Path, codec: &TextCodec, width: usize, seed: u64) -> Result<Prompts> {
    let found = Prompts::open(path, codec, width, seed)?;
    found.remarks().iter().for_each(|remark| shared.say(format_args!("{}: {remark}", path.display())));
    if found.list().is_empty() {
        let reason = "is a text: give JSON lines, a JSON list or a table with a prompt in each record";
        return Err(Error::data(path, reason));
    }
    Ok(found)
}

/// A message as data files have it.
pub(crate) fn as_json(message: &Message) -> Value {
    json!({ "role": message.role, "content": message.content })
}

/// Samples one answer of the model to each prompt in `asked`, as tokens.
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
