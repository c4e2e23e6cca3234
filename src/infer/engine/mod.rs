//! Many requests at once: they join and leave the running batch at every step.
//!
//! The engine knows neither threads nor time. Whoever owns it submits requests and calls [`Engine::step`] as long as there is
//! work; each request hears of its tokens through its own listener. A step computes one token of every text that is read, and
//! a chunk of prompts; keys and values lie in pages ([`crate::model::paged`]), and full pages serve every text that begins
//! alike. What a text says depends on its request alone: draws are keyed by seed and number, and a text's own tokens are
//! computed row by row, whoever sits in the other rows.

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
    generate::Finish,
};
use crate::{
    Error, Result,
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

/// How much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most requests that run at once.
    pub sequences: usize,
    /// Most requests that wait.
    pub waiting: usize,
    /// Most tokens in the cache, over all texts; memory is taken as it fills. A text ends where it alone fills the cache.
    pub tokens: usize,
    /// Most tokens of prompts that are read in a step, while every running text goes on by one.
    pub chunk: usize,
    /// How keys and values are stored.
    pub precision: Precision,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sequences: 16, waiting: 64, tokens: 16_384, chunk: 128, precision: Precision::Single }
    }
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// As many wait as may.
    #[error("the queue is full: try again later")]
    Full,
    /// It can never be answered.
    #[error("{0}")]
    Invalid(Error),
}

impl Refused {
    /// The same as an error of the crate.
    pub fn into_error(self) -> Error {
        match self {
            Self::Full => Error::QueueFull,
            Self::Invalid(error) => error,
        }
    }
}

/// What an engine has done, and what it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Requests that are being answered.
    pub running: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Pages that running texts hold; others may still be known, and are free.
    pub pages_used: usize,
    /// Pages in all, of [`PAGE`] tokens.
    pub pages: usize,
    /// Tokens of the prompts that were begun.
    pub prompt_tokens: u64,
    /// Those of them that were in the cache already.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Requests answered to the end.
    pub finished: u64,
    /// Requests whose listener went away.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// How often a text had to yield its pages.
    pub preempted: u64,
    /// Steps.
    pub steps: u64,
}

/// Bind groups that may pile up: batches come in many shapes, and each shape has its own.
const BIND_GROUPS: u64 = 20_000;

/// A model that answers many requests at once.
pub struct Engine {
    gpu: Gpu,
    /// The model, and it with each of the adapters.
    models: Vec<Gpt>,
    names: Vec<String>,
    pages: Pages,
    schedule: Schedule,
    settings: Settings,
    generated: u64,
    steps: u64,
    bind_groups: u64,
}

impl Engine {
    /// An engine for `model`, which also answers by `adapters`: by name the same model with adapters beside it, made by
    /// [`Gpt::beside`], so that the weights are in memory once.
    ///
    /// # Errors
    /// [`Error::Usage`] for settings that leave nothing to run, names that are empty or occur twice, and adapters of another
    /// model.
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
        Ok(Self { gpu, models, names, pages, schedule, settings, generated: 0, steps: 0, bind_groups: 0 })
    }

    /// The model without adapters.
    pub fn model(&self) -> &Gpt {
        &self.models[0]
    }

    /// The adapters that requests may name.
    pub fn adapters(&self) -> &[String] {
        &self.names
    }

    /// The most tokens of one text, its prompt included: the model's context, or the cache where that is smaller.
    pub fn window(&self) -> usize {
        self.model().config().context.min(self.schedule.page_table.count() * PAGE)
    }

    /// Takes a request into the queue. A text that reaches the window ends there ([`Finish::Length`]).
    ///
    /// # Errors
    /// [`Refused::Full`] when as many wait as may, [`Refused::Invalid`] for what no model can answer, an adapter that there
    /// is not, and a prompt that does not fit the window.
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

    /// Computes one step of everything that runs; true while work remains. Who cannot be answered alone hears so alone.
    ///
    /// # Errors
    /// Those of the driver: then every request has failed, each with the reason, and nothing is left to do.
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
        // The last hidden state of every text that is read to its end: tensor, row, sequence.
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
        for (index, told) in choices {
            let sequence = &mut self.schedule.running[index];
            let before = sequence.tokens.len();
            let end = sequence.accept(told, window);
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

    /// The pass of a batch: final hidden states after the last token of every part.
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

    /// Scores from rows of hidden states. Adapters leave the head alone, so it is one product for all of them.
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

    /// What was done so far, and what is being done.
    pub fn figures(&self) -> Figures {
        let Schedule { page_table, waiting, running, tally, .. } = &self.schedule;
        Figures {
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

    /// The vectors of texts, of length 1: means of the model's last hidden states. Runs at once, beside whatever runs.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty text or a token that there is not; those of the driver.
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
