//! Answers many requests at once (continuous batching): they join and leave the running batch at every step.
//!
//! The engine knows neither threads nor time. Its owner submits requests and calls [`Engine::step`] as long as there is
//! work; each request gets its tokens through its own listener. A step computes one token of every text whose prompt
//! has been read, and reads a chunk of prompts. Keys and values lie in pages ([`crate::model::paged`]), and full pages
//! are shared by all texts with the same beginning. The answer depends on the request alone: draws are keyed by seed
//! and number, and a text's tokens are computed row by row, whatever is in the other rows.

mod choose;
mod inspect;
mod pages;
pub mod request;
mod schedule;
mod sequence;

use choose::Scores;
pub use inspect::{Inspection, LONGEST};
use request::Request;
use schedule::{Batch, Schedule};
use sequence::Sequence;

use super::{
    embed::{Pooling, embed, normalised},
    explain::explained,
    generate::Finish,
};
use crate::{
    Error, Result,
    error::Origin,
    gpu::{Bind, Gpu},
    model::{Gpt, paged::Pages},
    ops::{
        kv::{
            decode::Precision,
            paged::{PAGE, Run},
        },
        packed::product::FEW,
    },
    tape::Tape,
    tensor::Tensor,
};

/// How much the engine does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Maximum number of requests that run at once.
    pub sequences: usize,
    /// Maximum number of requests that wait.
    pub waiting: usize,
    /// Maximum number of tokens in the cache, over all texts; memory is allocated as it fills. A text that alone
    /// fills the cache ends there.
    pub tokens: usize,
    /// Maximum number of prompt tokens read in a step, while every other running text grows by one token.
    pub chunk: usize,
    /// How keys and values are stored.
    pub precision: Precision,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sequences: 16, waiting: 64, tokens: 16_384, chunk: 128, precision: Precision::Single }
    }
}

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The queue holds the maximum number of requests.
    #[error("the queue is full: try again later")]
    Full,
    /// It can never be answered.
    #[error("{0}")]
    Invalid(Error),
}

impl Refused {
    /// The refusal as an error of the crate.
    pub fn into_error(self) -> Error {
        match self {
            Self::Full => Error::QueueFull,
            Self::Invalid(error) => error,
        }
    }
}

/// Counts of what an engine has done and is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct EngineStatistics {
    /// Requests being answered.
    pub running: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Pages that running texts hold; all others are available, even if their content is still known.
    pub pages_used: usize,
    /// Total number of pages, of [`PAGE`] tokens each.
    pub pages: usize,
    /// Tokens of the prompts of all started requests.
    pub prompt_tokens: u64,
    /// The number of those that were already in the cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Requests answered to the end.
    pub finished: u64,
    /// Requests whose listener was gone.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// How often a text had to give up its pages.
    pub preempted: u64,
    /// Steps.
    pub steps: u64,
}

/// How many bind groups may accumulate before they are dropped: batches come in many shapes, and each has its own.
const BIND_GROUPS: u64 = 20_000;

/// A model that answers many requests at once.
pub struct Engine {
    gpu: Gpu,
    /// The model, followed by the model with each of the adapters.
    models: Vec<Gpt>,
    names: Vec<String>,
    pages: Pages,
    schedule: Schedule,
    settings: Settings,
    generated: u64,
    steps: u64,
    bind_groups: u64,
    /// The adapter's index and the weight that is not finite, once one was found.
    broken: Option<(usize, Origin)>,
}

impl Engine {
    /// An engine for `model` and for `adapters`: each is a name and the same model with adapters, made by [`Gpt::beside`]
    /// so that the weights are in memory only once.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings with which nothing could run, names that are empty or occur twice, and adapters of
    /// another model.
    pub fn new(gpu: Gpu, model: Gpt, adapters: Vec<(String, Gpt)>, settings: Settings) -> Result<Self> {
        let Settings { sequences, tokens, chunk, .. } = settings;
        if sequences == 0 || chunk == 0 || tokens < PAGE {
            let reason = format!("{sequences} sequences, {chunk} prompt tokens a step, {tokens} tokens in the cache");
            return Err(Error::Usage(format!("{reason}: give at least 1, 1 and {PAGE}")));
        }
        let (names, mut models) = (adapters.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), vec![model]);
        for (name, adapted) in adapters {
            if name.is_empty() || names.iter().filter(|other| **other == name).count() > 1 {
                return Err(Error::Usage(format!("adapters '{name}': give every one a name of its own")));
            }
            if adapted.config() != models[0].config() {
                return Err(Error::Usage(format!("adapters '{name}' are those of another model")));
            }
            models.push(adapted);
        }
        let pages = Pages::new(&gpu, models[0].config(), tokens / PAGE, settings.precision);
        let schedule = Schedule::new(pages.limit(), sequences, chunk);
        Ok(Self { gpu, models, names, pages, schedule, settings, generated: 0, steps: 0, bind_groups: 0, broken: None })
    }

    /// The model without adapters.
    pub fn model(&self) -> &Gpt {
        &self.models[0]
    }

    /// The names of the adapters that requests may use.
    pub fn adapters(&self) -> &[String] {
        &self.names
    }

    /// The maximum number of tokens of one text, including its prompt: the model's context, or the
    /// cache if that is smaller.
    pub fn window(&self) -> usize {
        self.model().config().context.min(self.schedule.page_table.count() * PAGE)
    }

    /// Puts a request into the queue. A text that reaches the window ends there ([`Finish::Length`]).
    ///
    /// # Errors
    /// [`Refused::Full`] when the queue is full, [`Refused::Invalid`] for a request that no model can answer, an unknown
    /// adapter, or a prompt that does not fit the window.
    pub fn submit(&mut self, request: Request) -> std::result::Result<(), Refused> {
        let invalid = |reason: String| Err(Refused::Invalid(Error::Usage(reason)));
        let config = self.model().config();
        request.validate(config.vocabulary, config.context).map_err(Refused::Invalid)?;
        let (length, window) = (request.prompt.len(), self.window());
        if length > window {
            return invalid(format!("the prompt has {length} tokens, the cache holds {window}: give a shorter one"));
        }
        let adapter = match &request.adapter {
            None => 0,
            Some(name) => match self.names.iter().position(|other| other == name) {
                Some(index) => index + 1,
                None => {
                    let all = if self.names.is_empty() { "none".to_string() } else { self.names.join(", ") };
                    return invalid(format!("there are no adapters '{name}'; there are: {all}"));
                }
            },
        };
        if self.schedule.waiting.len() >= self.settings.waiting {
            return Err(Refused::Full);
        }
        let mut sequence = Sequence::new(request, adapter);
        if sequence.request.count == 0 {
            let end = sequence.finish(Finish::Length);
            self.schedule.tally.count(end);
        } else {
            self.schedule.waiting.push_back(sequence);
        }
        Ok(())
    }

    /// Computes one step of everything that runs; returns true while work remains. If a single request cannot be
    /// answered, only its own listener is told.
    ///
    /// # Errors
    /// Returns the driver's errors; then every request has failed and been told the reason, and no work is left.
    pub async fn step(&mut self) -> Result<bool> {
        if let Err(error) = self.advance().await {
            self.schedule.fail(&error.to_string());
            return Err(error);
        }
        Ok(!self.schedule.running.is_empty() || !self.schedule.waiting.is_empty())
    }

    async fn advance(&mut self) -> Result<()> {
        self.schedule.admit();
        self.schedule.grow();
        let batches = self.schedule.batches();
        if batches.is_empty() {
            return Ok(());
        }
        self.steps += 1;
        // The last hidden state of every text that has been read to its end: tensor, row, sequence.
        let mut ends = Vec::new();
        for batch in &batches {
            let hidden = self.read(batch)?;
            for (row, part) in batch.parts.iter().enumerate() {
                let sequence = &mut self.schedule.running[part.index];
                sequence.advance(&mut self.schedule.page_table, part.count);
                if sequence.unread() == 0 {
                    ends.push((hidden.clone(), row, part.index));
                }
            }
        }
        let groups = ends.chunks(FEW).map(|ends| self.scores(ends)).collect::<Result<Vec<_>>>()?;
        let choices = choose::choose(&groups, &mut self.schedule.running).await?;
        let window = self.window();
        let mut left = Vec::new();
        for (index, mut told) in choices {
            if let Err(error) = told {
                told = Err(self.explained(index, error).await);
            }
            let sequence = &mut self.schedule.running[index];
            let before = sequence.tokens.len();
            let end = sequence.accept(told.map_err(|error| error.to_string()), window);
            self.generated += (sequence.tokens.len() - before) as u64;
            left.extend(end.map(|end| (index, end)));
        }
        self.schedule.remove(&left);
        self.gpu.submit()?;
        let created = self.gpu.created().bind_groups;
        if created - self.bind_groups > BIND_GROUPS {
            self.gpu.trim();
            self.bind_groups = created;
        }
        Ok(())
    }

    /// An error of a running sequence, with its cause if its scores are not numbers.
    async fn explained(&mut self, index: usize, error: Error) -> Error {
        let sequence = &self.schedule.running[index];
        if let (Error::NotNumbers { what, .. }, Some((adapter, origin))) = (&error, &self.broken)
            && *adapter == sequence.adapter
        {
            return Error::NotNumbers { what, origin: Some(origin.clone()) };
        }
        let error = explained(&self.gpu, &self.models[sequence.adapter], &sequence.tokens, error).await;
        if let Error::NotNumbers { origin: Some(origin @ Origin::Weight { .. }), .. } = &error {
            self.broken = Some((sequence.adapter, origin.clone()));
        }
        error
    }

    /// The forward pass of a batch: final hidden states at the last token of every part.
    fn read(&mut self, batch: &Batch) -> Result<Tensor> {
        let running = &self.schedule.running;
        let (mut ids, mut runs) = (Vec::new(), Vec::new());
        for part in &batch.parts {
            let sequence = &running[part.index];
            ids.extend_from_slice(&sequence.tokens[sequence.read..][..part.count]);
            runs.push(Run { pages: &sequence.pages, first: sequence.read, count: part.count });
        }
        self.models[batch.adapter].read(&ids, &runs, &mut self.pages)
    }

    /// Scores from rows of hidden states. Adapters do not change the head, so one product serves all of them.
    fn scores(&self, ends: &[(Tensor, usize, usize)]) -> Result<Scores> {
        let width = self.model().config().width;
        let all = Tensor::empty_f32(&self.gpu, &[ends.len(), width])?;
        let size = width as u64 * 4;
        for (place, (hidden, row, _)) in ends.iter().enumerate() {
            let (from, to) = (hidden.bind(), all.bind());
            let (start, end) = (from.offset + *row as u64 * size, to.offset + place as u64 * size);
            self.gpu.copy(Bind { offset: start, size, ..from }, Bind { offset: end, size, ..to });
        }
        let logits = self.model().logits(&Tape::off(&self.gpu), &all)?;
        Ok(Scores { logits, sequences: ends.iter().map(|(_, _, index)| *index).collect() })
    }

    /// Counts of what has been done so far and what is being done.
    pub fn figures(&self) -> EngineStatistics {
        let Schedule { page_table, waiting, running, tally, .. } = &self.schedule;
        EngineStatistics {
            running: running.len(),
            waiting: waiting.len(),
            pages_used: page_table.count() - page_table.available(),
            pages: page_table.count(),
            prompt_tokens: tally.prompt_tokens,
            cached_tokens: tally.cached_tokens,
            generated_tokens: self.generated,
            finished: tally.finished,
            cancelled: tally.cancelled,
            failed: tally.failed,
            preempted: tally.preempted,
            steps: self.steps,
        }
    }

    /// The vectors of texts, scaled to length 1: means of the model's final hidden states. Computed immediately,
    /// independently of all running requests.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty text or a token outside the vocabulary; the driver's errors.
    pub async fn embed(&mut self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            self.check_tokens(text)?;
            vectors.push(normalised(embed(&self.gpu, self.model(), text, Pooling::Mean).await?));
        }
        Ok(vectors)
    }

    fn check_tokens(&self, ids: &[u32]) -> Result<()> {
        let vocabulary = self.model().config().vocabulary;
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => Err(Error::Usage(format!("token {id} is not one of the model's {vocabulary}"))),
            None => Ok(()),
        }
    }
}
