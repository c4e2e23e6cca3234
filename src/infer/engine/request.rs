//! Requests to the engine, and the events that it reports while it answers.

use crate::{
    Error, Result,
    infer::{
        generate::Finish,
        sampler::{Candidate, Sampling},
    },
};

/// A text to continue.
pub struct Request {
    /// The text so far: at least one token.
    pub prompt: Vec<u32>,
    /// Maximum number of new tokens.
    pub count: usize,
    /// Tokens that end the text; they are not reported.
    pub stops: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Subtracted from the score of every token that was already generated (OpenAI's `presence_penalty`).
    pub presence_penalty: f32,
    /// Subtracted from the score of a token once for each time that it was generated (OpenAI's `frequency_penalty`).
    pub frequency_penalty: f32,
    /// Added to the scores of tokens.
    pub bias: Vec<(u32, f32)>,
    /// How many of the likeliest tokens are reported with each token.
    pub top: usize,
    /// The name of the LoRA adapters to compute with; `None` for the model without adapters.
    pub adapter: Option<String>,
    /// Restricts which tokens may come next.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Called with every event, on the engine's thread; returns false if nobody listens any more,
    /// which cancels the request.
    pub listener: Box<dyn FnMut(Event) -> bool + Send>,
}

/// Which tokens may come next.
pub trait Constraint: Send {
    /// Sets the scores of tokens that may not come next to minus infinity. At least one token must remain.
    fn mask(&mut self, scores: &mut [f32]);

    /// Is called with the token that was chosen.
    fn accept(&mut self, id: u32);
}

/// Something that happens to a request.
#[derive(Clone, Debug)]
pub enum Event {
    /// Its prompt is being read; some of its tokens may already be in the cache.
    Started {
        /// Number of tokens that were already in the cache and need not be read.
        cached: usize,
    },
    /// A token.
    Token(TokenEvent),
    /// The last event: why the text ended.
    Finished(Finish),
    /// The last event: what went wrong.
    Failed(String),
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvent {
    /// The token, with its log-probability.
    pub chosen: Candidate,
    /// The [`Request::top`] likeliest tokens in its place, best first.
    pub top: Vec<Candidate>,
}

impl Request {
    /// A request for at most `count` tokens, each drawn from the whole distribution at temperature
    /// 1, with no other options.
    pub fn new(prompt: Vec<u32>, count: usize, listener: impl FnMut(Event) -> bool + Send + 'static) -> Self {
        Self {
            prompt,
            count,
            stops: Vec::new(),
            sampling: Sampling::default(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            bias: Vec::new(),
            top: 0,
            adapter: None,
            constraint: None,
            listener: Box::new(listener),
        }
    }

    /// Refuses a request that the model cannot answer; `vocabulary` and `context` are the model's.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self, vocabulary: usize, context: usize) -> Result<()> {
        self.sampling.validate()?;
        if self.prompt.is_empty() {
            return Err(Error::Usage("the prompt is empty: give at least one token to continue".to_string()));
        }
        if self.prompt.len() >= context {
            let reason = format!("the prompt has {} tokens, the model's context {context}", self.prompt.len());
            return Err(Error::Usage(format!("{reason}: give a shorter one")));
        }
        let ids = self.prompt.iter().chain(&self.stops).chain(self.bias.iter().map(|(id, _)| id));
        if let Some(id) = ids.copied().find(|&id| id as usize >= vocabulary) {
            return Err(Error::Usage(format!("token {id} is not one of the model's {vocabulary}")));
        }
        let penalties = [self.presence_penalty, self.frequency_penalty];
        if penalties.iter().chain(self.bias.iter().map(|(_, bias)| bias)).any(|number| !number.is_finite()) {
            return Err(Error::Usage("penalties and biases must be finite numbers".to_string()));
        }
        Ok(())
    }
}
