//! How a stage learns: what [`Stage`](super::stage::Stage) asks of it, and what language models answer.

use std::{future::Future, path::Path};

use serde_json::{Map, Value, json};

use super::{
    Settings,
    stage::Task,
    trainer::{Pending, Trainer},
    validation,
};
use crate::Result;

/// What is learned, and how a step is made of it. A [`Task`] of batches for a language model is one already.
pub trait Learn {
    /// The stage's name in metrics.
    const STAGE: &'static str;

    /// One optimizer step, number `step`: a function of the settings and the step only, so that a resumed run goes on the
    /// same. Nothing is waited for.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when there is nothing to learn from; those of the driver.
    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending>;

    /// A step without an update, so that the tuner sees every shape.
    ///
    /// # Errors
    /// As [`Learn::step`].
    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()>;

    /// What the held-out data says; none when nothing is held out.
    ///
    /// # Errors
    /// Those of the driver.
    fn validate(&mut self, trainer: &Trainer, settings: &Settings) -> impl Future<Output = Result<Option<Validation>>>;

    /// After the last step and its validation, before the last checkpoint. `out` is the run's folder.
    ///
    /// # Errors
    /// [`crate::Error::Io`], and those of the driver.
    fn finish(&mut self, _trainer: &mut Trainer, _out: &Path) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// What samples go on with, and the tokens that end them.
    fn sample(&self) -> (Vec<u32>, Vec<u32>) {
        Default::default()
    }

    /// Tokens that a step reads.
    fn tokens_per_step(&self, settings: &Settings) -> usize {
        settings.tokens_per_step()
    }
}

/// The result of a validation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// The mean loss.
    pub loss: f64,
    /// What else was measured, by name, for metrics and people.
    pub more: Map<String, Value>,
}

impl Validation {
    /// As a line of metrics.
    pub fn line(&self, stage: &str, step: u64) -> Value {
        let mut line = json!({ "stage": stage, "step": step, "val_loss": self.loss });
        self.more.iter().for_each(|(name, value)| line[name] = value.clone());
        line
    }
}

impl<T: Task> Learn for T {
    const STAGE: &'static str = T::STAGE;

    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending> {
        trainer.step(settings, &self.batches(settings, step)?)
    }

    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()> {
        let batch = self.batches(settings, 0)?.remove(0);
        trainer.rehearse(settings, &batch)
    }

    async fn validate(&mut self, trainer: &Trainer, settings: &Settings) -> Result<Option<Validation>> {
        let Some(batches) = self.held_out(settings) else { return Ok(None) };
        let loss = validation::mean_loss(&trainer.gpu, &trainer.model, batches, |_| {}).await?;
        Ok(Some(Validation { loss, ..Validation::default() }))
    }

    fn sample(&self) -> (Vec<u32>, Vec<u32>) {
        Task::sample(self)
    }
}
