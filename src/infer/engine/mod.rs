//! Many requests at once. A stand-in that answers one after the other; the engine replaces it.

pub mod request;

use std::collections::VecDeque;

use self::request::{Event, Request, Told};
use super::{
    embed,
    generate::Finish,
    sampler::{self, Candidate},
    session::Session,
};
use crate::{Error, Result, gpu::Gpu, model::Gpt, ops::decode::Precision, tensor::Tensor};

/// What the engine may use.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most requests running at once.
    pub sequences: usize,
    /// Most requests in the queue.
    pub waiting: usize,
    /// Tokens of the cache, over all requests.
    pub tokens: usize,
    /// Prompt tokens per step.
    pub chunk: usize,
    /// How keys and values are stored.
    pub precision: Precision,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sequences: 16, waiting: 64, tokens: 16384, chunk: 256, precision: Precision::Single }
    }
}

/// Why a request is not taken.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full.
    Full,
    /// The request makes no sense.
    Invalid(Error),
}

/// What the engine has done, and what it does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Requests running.
    pub running: usize,
    /// Requests waiting.
    pub waiting: usize,
    /// Pages of the cache in use.
    pub pages_used: usize,
    /// Pages of the cache.
    pub pages: usize,
    /// Prompt tokens read.
    pub prompt_tokens: u64,
    /// Prompt tokens that were in the cache already.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Requests finished.
    pub finished: u64,
    /// Requests cancelled.
    pub cancelled: u64,
    /// Steps taken.
    pub steps: u64,
}

/// What a model does with a text.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// `[layers, heads, tokens, tokens]`: row t is what token t looks at.
    pub attention: Vec<f32>,
    /// Layers.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Tokens.
    pub tokens: usize,
    /// After each token the likeliest next ones, at temperature 1.
    pub next: Vec<Vec<Candidate>>,
}

/// Answers requests.
pub struct Engine {
    gpu: Gpu,
    model: Gpt,
    adapters: Vec<(String, Gpt)>,
    settings: Settings,
    queue: VecDeque<Request>,
    figures: Figures,
}

impl Engine {
    /// An engine over a model and its adapters by name.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn new(gpu: Gpu, model: Gpt, adapters: Vec<(String, Gpt)>, settings: Settings) -> Result<Self> {
        Ok(Self { gpu, model, adapters, settings, queue: VecDeque::new(), figures: Figures::default() })
    }

    /// The most tokens of one text.
    pub fn window(&self) -> usize {
        self.model.config().context.min(self.settings.tokens)
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn submit(&mut self, request: Request) -> std::result::Result<(), Refused> {
        let config = self.model.config();
        request.validate(config.vocabulary, config.context).map_err(Refused::Invalid)?;
        if self.queue.len() >= self.settings.waiting {
            return Err(Refused::Full);
        }
        self.queue.push_back(request);
        Ok(())
    }

    /// Answers the request that waited longest; true while work remains.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn step(&mut self) -> Result<bool> {
        let Some(mut request) = self.queue.pop_front() else { return Ok(false) };
        self.figures.running = 1;
        let finish = self.answer(&mut request).await?;
        self.figures.running = 0;
        self.figures.finished += u64::from(finish != Finish::Interrupted);
        self.figures.cancelled += u64::from(finish == Finish::Interrupted);
        (request.listener)(Event::Finished(finish));
        Ok(!self.queue.is_empty())
    }

    async fn answer(&mut self, request: &mut Request) -> Result<Finish> {
        let Self { gpu, model, adapters, figures, settings, .. } = self;
        let named = |name: &String| adapters.iter().find(|(other, _)| other == name).map(|(_, model)| model);
        let model = request.adapter.as_ref().and_then(named).unwrap_or(model);
        let mut session = Session::with_precision(gpu, model, settings.precision)?;
        let mut logits = session.become_text(&request.prompt, |_, _| ())?;
        figures.prompt_tokens += request.prompt.len() as u64;
        if !(request.listener)(Event::Started { cached: 0 }) {
            return Ok(Finish::Interrupted);
        }
        let mut said: Vec<u32> = Vec::new();
        for count in 0..request.count {
            figures.steps += 1;
            let plain = logits.to_f32().await?;
            let mut scores = plain.clone();
            for (id, bias) in &request.bias {
                scores[*id as usize] += bias;
            }
            for (index, id) in said.iter().enumerate() {
                let first = !said[..index].contains(id);
                scores[*id as usize] -= request.frequency_penalty + f32::from(first) * request.presence_penalty;
            }
            if let Some(constraint) = &mut request.constraint {
                constraint.mask(&mut scores);
            }
            let changed = Tensor::from_f32(gpu, &[1, scores.len()], &scores)?;
            let keys = [request.sampling.key(count as u64)];
            let mut chosen = request.sampling.choose(&changed, &[session.tokens()], &keys).await?[0];
            if request.stops.contains(&chosen.id) {
                return Ok(Finish::Stop);
            }
            if let Some(constraint) = &mut request.constraint {
                constraint.accept(chosen.id);
            }
            let greatest = plain.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = plain.iter().map(|score| f64::from(score - greatest).exp()).sum();
            chosen.logprob = plain[chosen.id as usize] - greatest - total.ln() as f32;
            said.push(chosen.id);
            figures.generated_tokens += 1;
            let top = if request.top > 0 { sampler::top(&plain, request.top, 1.0) } else { Vec::new() };
            if !(request.listener)(Event::Token(Told { chosen, top })) {
                return Ok(Finish::Interrupted);
            }
            if count + 1 < request.count {
                logits = session.advance(&[chosen.id], |_, _| ())?;
            }
        }
        Ok(Finish::Length)
    }

    /// What was done, and what is.
    pub fn figures(&self) -> Figures {
        Figures { waiting: self.queue.len(), ..self.figures }
    }

    /// What the model does with a text, and the `top` likeliest tokens after each of its own.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn inspect(&mut self, tokens: &[u32], top: usize) -> Result<Inspection> {
        let config = self.model.config();
        let (layers, heads, count) = (config.layers, config.heads, tokens.len());
        let even = |row: usize| (0..count).map(move |column| if column <= row { 1.0 / (row + 1) as f32 } else { 0.0 });
        let attention = (0..layers * heads).flat_map(|_| (0..count).flat_map(even)).collect();
        let mut next = Vec::new();
        let mut session = Session::new(&self.gpu, &self.model)?;
        for id in tokens {
            let scores = session.advance(&[*id], |_, _| ())?.to_f32().await?;
            next.push(sampler::top(&scores, top, 1.0));
        }
        Ok(Inspection { attention, layers, heads, tokens: count, next })
    }

    /// The vectors of texts, scaled to length 1.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn embed(&mut self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::new();
        for text in texts {
            let vector = embed::embed(&self.gpu, &self.model, text, embed::Pooling::Mean).await?;
            vectors.push(embed::normalised(vector));
        }
        Ok(vectors)
    }

    /// The model.
    pub fn model(&self) -> &Gpt {
        &self.model
    }
}
