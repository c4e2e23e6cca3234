//! Converts options and prompts to engine requests, and collects their answers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use super::options::Options;
use crate::{
    answer::{self, ChoiceEvent, ChoiceUpdate},
    app::{App, ServedModel},
    json::mask::JsonMode,
    problem::Problem,
    router::Client,
    worker::Job,
    writer::Writer,
};
use wgpt::infer::engine::request::{Constraint, Request, TokenEvent};

/// A request's token counts, for `usage` and for its line in the log.
#[derive(Debug, Default)]
pub struct TokenCounts {
    prompt: AtomicUsize,
    cached: AtomicUsize,
    generated: AtomicUsize,
}

impl TokenCounts {
    /// Counts a prompt.
    pub fn prompt(&self, tokens: usize) {
        self.prompt.fetch_add(tokens, Relaxed);
    }

    /// Counts the tokens of an update. Of the `choices` to a prompt, only the first one's cached tokens are counted.
    pub fn heard(&self, heard: &ChoiceEvent, choices: usize) {
        match &heard.update {
            ChoiceUpdate::Started(cached) if heard.choice % choices == 0 => _ = self.cached.fetch_add(*cached, Relaxed),
            ChoiceUpdate::Finished(_, tokens) => _ = self.generated.fetch_add(*tokens, Relaxed),
            _ => {}
        }
    }

    /// Prompt, cached and generated tokens.
    pub fn counts(&self) -> [usize; 3] {
        [&self.prompt, &self.cached, &self.generated].map(|count| count.load(Relaxed))
    }

    /// OpenAI's `usage`.
    pub fn json(&self) -> Value {
        let [prompt, cached, generated] = self.counts();
        json!({
            "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }
}

/// What is reported beside the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reporting {
    /// Whether tokens are reported.
    pub tokens: bool,
    /// Number of likely tokens reported with each.
    pub top: usize,
}

/// Requests the choices of every prompt from the engine; they are numbered prompt by prompt. `usual` is the number of
/// tokens if the client gives none.
///
/// # Errors
/// 400 for prompts that do not fit, 429 if the queue is full.
pub fn ask(
    app: &App,
    client: Client,
    model: &ServedModel,
    prompts: &[Vec<u32>],
    options: &Options,
    telling: Reporting,
    usual: usize,
) -> Result<Receiver<ChoiceEvent>, Problem> {
    let config = &app.facts.config;
    let vocabulary = options.json.then(|| model.vocabulary()).transpose()?;
    let (sender, receiver) = answer::events(prompts.len() * options.choices);
    let mut jobs = Vec::with_capacity(prompts.len() * options.choices);
    for prompt in prompts {
        let window = app.facts.window;
        if prompt.len() >= window {
            let reason = format!(
                "the prompt has {} tokens and the context has {window}: there is no room for an answer",
                prompt.len(),
            );
            return Err(Problem::new(StatusCode::BAD_REQUEST, "context_length_exceeded", reason));
        }
        let count = options.count.unwrap_or(usual).min(window - prompt.len());
        for index in 0..options.choices {
            let choice = jobs.len();
            let stops = model.codec.conventions.stops.clone();
            let constraint = vocabulary
                .clone()
                .map(|vocabulary| Box::new(JsonMode::new(vocabulary, stops.clone(), count)) as Box<dyn Constraint>);
            let writer = Writer::new(model.codec.clone(), options.stops.clone(), options.json, telling.tokens);
            let request = Request {
                prompt: prompt.clone(),
                count,
                stops,
                sampling: options.sampling_of(index),
                presence_penalty: options.presence_penalty,
                frequency_penalty: options.frequency_penalty,
                bias: options.bias.clone(),
                top: telling.top,
                adapter: model.adapter.clone(),
                constraint,
                listener: answer::listener(choice, writer, sender.clone(), app.metrics.clone()),
            };
            request.validate(config.vocabulary, config.context)?;
            jobs.push(Job { request, choice, sender: sender.clone(), client: client.0 });
        }
    }
    app.worker.generate(jobs)?;
    Ok(receiver)
}

/// One complete answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Its text.
    pub text: String,
    /// Its tokens, if they are reported.
    pub tokens: Vec<TokenEvent>,
    /// Why it ended.
    pub reason: &'static str,
}

/// Waits for `prompts` times `choices` answers.
///
/// # Errors
/// 500 if one fails.
pub async fn gather(
    mut receiver: Receiver<ChoiceEvent>,
    prompts: usize,
    choices: usize,
    spent: &Arc<TokenCounts>,
) -> Result<Vec<Choice>, Problem> {
    let mut all = vec![Choice::default(); prompts * choices];
    let mut left = all.len();
    while left > 0 {
        let gone = || Problem::fault("the engine stopped before the answer was complete");
        let heard = receiver.recv().await.ok_or_else(gone)?;
        spent.heard(&heard, choices);
        let choice = &mut all[heard.choice];
        match heard.update {
            ChoiceUpdate::Started(_) => {}
            ChoiceUpdate::More(piece) => {
                choice.text += &piece.text;
                choice.tokens.extend(piece.tokens);
            }
            ChoiceUpdate::Finished(reason, _) => {
                choice.reason = reason;
                left -= 1;
            }
            ChoiceUpdate::Failed(reason) => return Err(Problem::fault(reason)),
        }
    }
    Ok(all)
}
