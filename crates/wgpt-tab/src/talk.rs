//! Conversation with a model.

use std::path::Path;

use js_sys::Function;
use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpt::{
    conversation::Conversation,
    formats::gguf::GgufFile,
    gpu::Gpu,
    infer::{sampler::Sampling, session::Session},
    interchange::{TextCodec, gguf},
    model::{Gpt, build::Storage, parameters},
    text::Message,
};

use crate::{
    problem::{Problem, Result},
    words,
};

/// The sampling settings of answers.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TalkOptions {
    temperature: f32,
    top_p: f32,
    max_tokens: usize,
    seed: u64,
}

impl Default for TalkOptions {
    fn default() -> Self {
        Self { temperature: 0.8, top_p: 1.0, max_tokens: 200, seed: 0 }
    }
}

/// A message as JSON.
#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: String,
}

/// A model for conversation.
#[wasm_bindgen]
pub struct Talker {
    gpu: Gpu,
    model: Gpt,
    codec: TextCodec,
    name: String,
}

/// The weights, tokenizer and conventions in a GGUF file.
pub(crate) fn open(bytes: Vec<u8>) -> Result<(gguf::Model, TextCodec)> {
    let file = GgufFile::parse(Path::new("model.gguf"), bytes)?;
    let codec = TextCodec::of_gguf(&file)?;
    Ok((gguf::Model::from_file(file)?, codec))
}

fn messages(text: &str) -> Result<Vec<Message>> {
    let said: Vec<ChatMessage> = serde_json::from_str(text).map_err(|error| Problem(format!("messages: {error}")))?;
    Ok(said.iter().map(|said| Message::new(&said.role, &said.content)).collect())
}

impl Talker {
    /// The model in a GGUF file, its matrices kept in their stored formats.
    pub(crate) fn load(gpu: &Gpu, bytes: Vec<u8>) -> Result<Self> {
        let (source, codec) = open(bytes)?;
        let name = source.file().metadata().get::<&str>("general.name").ok().flatten().unwrap_or_default().to_string();
        let model = Gpt::frozen(gpu, &source, Storage::AsStored, |_, _| ())?;
        Ok(Self { gpu: gpu.clone(), model, codec, name })
    }

    fn conversation(&self, sampling: Sampling, max_tokens: usize) -> Result<Conversation<'_>> {
        Ok(Conversation::new(Session::new(&self.gpu, &self.model)?, &self.codec, sampling, max_tokens)?)
    }
}

#[wasm_bindgen]
impl Talker {
    /// `{"parameters", "context", "vocabulary", "chat", "name"}`
    pub fn about(&self) -> Result<String> {
        let config = self.model.config();
        let chat = self.codec.conventions.talk(&self.codec.tokenizer)?.is_some();
        let (context, vocabulary, name) = (config.context, config.vocabulary, &self.name);
        let sizes = parameters::specs(config).into_iter().map(|spec| spec.shape.iter().product::<usize>());
        let parameters: usize = sizes.sum();
        Ok(json!({ "parameters": parameters, "context": context, "vocabulary": vocabulary, "chat": chat, "name": name })
            .to_string())
    }

    /// Answers `[{"role", "content"}]`. `each` is called with the text as it is generated, and returns `false` to stop.
    pub async fn answer(&self, said: String, options: String, each: Function) -> Result<String> {
        let TalkOptions { temperature, top_p, max_tokens, seed } = crate::problem::read(&options)?;
        let sampling = Sampling { temperature, top_p, seed, ..Sampling::default() };
        let mut before = messages(&said)?;
        let Some(last) = before.pop() else { return Err(Problem("messages: there is none to answer".into())) };
        let mut conversation = self.conversation(sampling, max_tokens)?;
        conversation.restart(before);
        let answer = conversation.say(&last.content, |_, _| (), |piece| words::tell(&each, piece)).await?;
        let (tokens, seconds) = (answer.generated.tokens.len(), answer.generated.seconds);
        Ok(json!({
            "text": answer.text, "tokens": tokens, "seconds": seconds, "finish": answer.generated.finish,
            "notes": answer.notes,
        })
        .to_string())
    }

    /// The likeliest tokens after the messages: `[{"text", "probability"}]`.
    pub async fn next(&self, said: String, count: usize) -> Result<String> {
        let mut conversation = self.conversation(Sampling::default(), 1)?;
        conversation.restart(messages(&said)?);
        let prompt = conversation.rendered(&mut Vec::new())?;
        words::next(&self.gpu, &self.model, &self.codec.tokenizer, &prompt, count).await
    }
}
