//! What a stage learns: where its batches come from, what its loss is, and how it is validated.

use super::{
    Settings,
    trainer::{Pending, Trainer},
    validation,
};
use std::path::Path;

use crate::{Result, text::Batch};

/// What a validation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// Mean loss.
    pub loss: f64,
    /// What else the stage measures, by name.
    pub metrics: Vec<(&'static str, f64)>,
}

/// What is learned.
pub trait Task {
    /// The stage's name in metrics.
    const STAGE: &'static str;

    /// Records a step on `trainer`: a function of the settings and the step only, so that a resumed run does the same.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when there is nothing to learn from, and those of the driver.
    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending>;

    /// Compiles every kernel of a step, and lets the tuner see every shape: steps without an update.
    ///
    /// # Errors
    /// As [`Task::step`].
    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()>;

    /// Measures on what is held out; none when nothing is, or where another rank does it.
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

    /// Tokens that one step learns from, padding among them.
    fn tokens_per_step(&self, settings: &Settings) -> usize {
        settings.tokens_per_step()
    }
}

/// A task whose loss is the cross entropy of the next token.
pub trait NextToken {
    /// As [`Task::STAGE`].
    const STAGE: &'static str;

    /// The micro-batches of a step: a function of the settings and the step only.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when there is nothing to learn from.
    fn batches(&mut self, settings: &Settings, step: u64) -> Result<Vec<Batch>>;

    /// The fixed batches of a validation; none when nothing is held out.
    fn held_out(&mut self, settings: &Settings) -> Option<Box<dyn Iterator<Item = Result<Batch>> + '_>>;

    /// As [`Task::sample`].
    fn prompt(&self) -> (Vec<u32>, Vec<u32>);
}

impl<T: NextToken> Task for T {
    const STAGE: &'static str = T::STAGE;

    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending> {
        trainer.step(settings, &self.batches(settings, step)?)
    }

    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()> {
        trainer.rehearse(settings, &self.batches(settings, 0)?)
    }

    async fn validate(&mut self, trainer: &Trainer, settings: &Settings) -> Result<Option<Validation>> {
        let Some(batches) = self.held_out(settings) else { return Ok(None) };
        let group = trainer.group();
        // Rank r reads batches r, r + n, r + 2n ..
        let own = batches.skip(group.rank()).step_by(group.size());
        let (sum, count) = validation::sum_of_losses(&trainer.gpu, &trainer.model, own, |_| {}).await?;
        let all = group.gather_numbers(&[sum, count as f64]).wait()?;
        let (sum, count) = all.iter().fold((0.0, 0.0), |(sum, count), own| (sum + own[0], count + own[1]));
        Ok(Some(Validation { loss: sum / f64::max(count, 1.0), metrics: Vec::new() }))
    }

    fn sample(&self) -> (Vec<u32>, Vec<u32>) {
        self.prompt()
    }
}
