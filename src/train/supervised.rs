//! Supervised learning of a task in a folder: pretraining, fine-tuning, DPO, and reward models.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Settings,
    run::{self, Ended, Event, RankSummary, Sample, Stage, Validation},
    state,
    trainer::{Outcome, Pending, Trainer},
    validation,
};
use crate::{
    Error, Result,
    gpu::Gpu,
    infer::{
        generate::{Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    interchange::TextCodec,
    parallel::Replica,
    report::curve,
    text::Batch,
};

/// The numbers of a step.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Its loss.
    pub loss: f32,
    /// Its gradient norm.
    pub norm: f32,
    /// Its learning rate.
    pub lr: f32,
    /// Other measurements of the task, by name.
    pub metrics: Vec<(&'static str, f32)>,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Steps done.
    pub step: u64,
    /// Loss of the first step of this run.
    pub first_loss: f32,
    /// Loss of the last step.
    pub train_loss: f32,
    /// Last validation loss.
    pub val_loss: Option<f64>,
    /// Lowest validation loss.
    pub best_val_loss: Option<f64>,
    /// Other results of the last validation, by name.
    #[serde(flatten)]
    pub validation: Map<String, Value>,
    /// Median over steps.
    pub tokens_per_second: f64,
    /// Median over steps.
    pub ms_per_step: f64,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Whether the run was asked to stop before its last step.
    pub stopped: bool,
    /// The ranks that trained together, if there were several.
    #[serde(rename = "together", skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RankSummary>,
}

/// What is learned: where a stage's batches come from, what its loss is, and how it is validated.
pub trait Task {
    /// The stage's name in metrics.
    const STAGE: &'static str;

    /// Records a step on `trainer`. Must depend only on the settings and the step, so that a resumed run does the same.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from, and the driver's errors.
    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending>;

    /// Compiles every kernel of a step and shows the tuner every shape, by steps without an update.
    ///
    /// # Errors
    /// Same as [`Task::step`].
    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()>;

    /// Evaluates on the held-out data; `None` if nothing is held out, or where another rank does it.
    ///
    /// # Errors
    /// Returns the driver's errors.
    fn validate(&mut self, trainer: &Trainer, settings: &Settings) -> impl Future<Output = Result<Option<Validation>>>;

    /// Called after the last step and its validation, before the last checkpoint. `out` is the run's folder.
    ///
    /// # Errors
    /// [`crate::Error::Io`], and the driver's errors.
    fn finish(&mut self, _trainer: &mut Trainer, _out: &Path) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// The prompt that samples continue, and the tokens that end them.
    fn sample(&self) -> (Vec<u32>, Vec<u32>) {
        Default::default()
    }

    /// Number of tokens that one step learns from, including padding.
    fn tokens_per_step(&self, settings: &Settings) -> usize {
        settings.tokens_per_step()
    }
}

/// A task whose loss is the cross entropy of the next token.
pub trait NextToken {
    /// Same as [`Task::STAGE`].
    const STAGE: &'static str;

    /// The micro-batches of a step. Must depend only on the settings and the step.
    ///
    /// # Errors
    /// [`Error::Data`] when there is nothing to learn from.
    fn batches(&mut self, settings: &Settings, step: u64) -> Result<Vec<Batch>>;

    /// The fixed batches of a validation; `None` if nothing is held out.
    fn held_out(&mut self, settings: &Settings) -> Option<Box<dyn Iterator<Item = Result<Batch>> + '_>>;

    /// Same as [`Task::sample`].
    fn prompt(&self) -> (Vec<u32>, Vec<u32>);
}

impl<T: NextToken> Task for T {
    const STAGE: &'static str = T::STAGE;

    fn step(&mut self, trainer: &mut Trainer, settings: &Settings, step: u64) -> Result<Pending> {
        trainer.step(&self.batches(settings, step)?)
    }

    fn rehearse(&mut self, trainer: &mut Trainer, settings: &Settings) -> Result<()> {
        trainer.rehearse(&self.batches(settings, 0)?)
    }

    async fn validate(&mut self, trainer: &Trainer, settings: &Settings) -> Result<Option<Validation>> {
        let Some(batches) = self.held_out(settings) else { return Ok(None) };
        let group = trainer.group();
        // Rank r reads batches r, r + n, r + 2n, ...
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

/// A task, and the model that learns it in a folder.
pub struct Supervised<'a, T> {
    /// The run's folder.
    pub out: &'a Path,
    /// The run's settings.
    pub settings: Settings,
    /// What is learned.
    pub task: T,
    /// The tokenizer, and the chat template that the model is taught.
    pub codec: TextCodec,
    /// The model and optimizer, new or resumed.
    pub trainer: Trainer,
    /// Lowest validation loss of the run so far.
    pub best_val_loss: Option<f64>,
    /// Set from outside to finish the step, save and end.
    pub stop: &'a AtomicBool,
}

impl<T: Task> Supervised<'_, T> {
    /// Trains to the last step, or until stopped.
    ///
    /// # Errors
    /// [`Error::Diverged`], [`Error::DeviceLost`] with the checkpoint to continue from, [`Error::Io`]; the last
    /// checkpoint remains.
    pub async fn run(&mut self, event: impl FnMut(Event<'_, Numbers>)) -> Result<Summary> {
        // A resumed run may recompute activations where the earlier run did not.
        self.trainer.settings = (&self.settings).into();
        let (out, stop) = (self.out, self.stop);
        let Ended { first, last, validation, seconds_per_step, stopped, ranks } =
            run::run(self, out, stop, event).await?;
        let loss = |numbers: Option<Numbers>| numbers.map_or(f32::NAN, |numbers| numbers.loss);
        let found = validation.as_ref().map_or(&[][..], |found| &found.metrics);
        Ok(Summary {
            step: self.done(),
            first_loss: loss(first),
            train_loss: loss(last),
            val_loss: validation.as_ref().map(|found| found.loss),
            best_val_loss: self.best_val_loss,
            validation: found.iter().map(|(name, value)| (name.to_string(), json!(value))).collect(),
            tokens_per_second: self.task.tokens_per_step(&self.settings) as f64 / seconds_per_step,
            ms_per_step: seconds_per_step * 1e3,
            parameters: self.trainer.model.size(),
            stopped,
            ranks,
        })
    }
}

impl<T: Task> Supervised<'_, T> {
    /// The error of a step that diverged, with its cause.
    async fn explained(&mut self, step: u64, error: Error) -> Error {
        let Error::Diverged { what, value, .. } = error else { return error };
        let Self { task, trainer, settings, .. } = self;
        // The weights before step 0 are those that training was given.
        let again = |trainer: &mut Trainer| task.step(trainer, settings, step).map(|_| ());
        // If even this fails, the error without its cause is the better one.
        let origin = trainer.origin(step, step == 0, again).await.ok().flatten();
        Error::Diverged { step: step as usize, what, value, origin }
    }
}

impl<T: Task> Stage for Supervised<'_, T> {
    type Numbers = Numbers;
    type Pending = Pending;

    const OVERLAPS: bool = true;
    const PREPARES: bool = false;

    fn name(&self) -> &'static str {
        T::STAGE
    }

    fn gpu(&self) -> &Gpu {
        &self.trainer.gpu
    }

    fn replica(&self) -> &Replica {
        &self.trainer.replica
    }

    fn replica_mut(&mut self) -> &mut Replica {
        &mut self.trainer.replica
    }

    fn schedule(&self) -> run::Schedule {
        let Settings { schedule, common, val_every, .. } = self.settings;
        run::Schedule { steps: schedule.steps, save_every: common.save_every, val_every: Some(val_every) }
    }

    fn done(&self) -> u64 {
        self.trainer.optimizer.step
    }

    fn settings(&self) -> Value {
        json!(self.settings)
    }

    fn rejoin(&mut self, out: &Path) -> Result<()> {
        state::rejoin(out, &mut self.trainer)
    }

    async fn rehearse(&mut self) -> Result<()> {
        self.task.rehearse(&mut self.trainer, &self.settings)
    }

    async fn step(&mut self, step: u64) -> Result<Pending> {
        self.task.step(&mut self.trainer, &self.settings, step)
    }

    async fn numbers(&mut self, step: u64, pending: Pending) -> Result<Numbers> {
        let outcome = pending.outcome().await?;
        if let Err(error) = self.trainer.observe(step, &outcome) {
            return Err(self.explained(step, error).await);
        }
        let Outcome { loss, norm, metrics } = outcome;
        Ok(Numbers { loss, norm, lr: self.settings.schedule.at(step), metrics })
    }

    fn line(&self, numbers: &Numbers, seconds: f64) -> Value {
        let tokens = self.task.tokens_per_step(&self.settings);
        let mut line = json!({
            "train_loss": numbers.loss, "gradient_norm": numbers.norm, "learning_rate": numbers.lr,
            "tokens_per_second": tokens as f64 / seconds.max(1e-9),
        });
        numbers.metrics.iter().for_each(|(name, value)| line[*name] = json!(value));
        line
    }

    async fn validate(&mut self) -> Result<Option<Validation>> {
        let found = self.task.validate(&self.trainer, &self.settings).await?;
        if let Some(Validation { loss, .. }) = found {
            self.best_val_loss = Some(self.best_val_loss.map_or(loss, |best| best.min(loss)));
        }
        Ok(found)
    }

    async fn sample(&mut self, _done: u64, validated: bool) -> Result<Option<Sample>> {
        let tokens = self.settings.sample_tokens;
        if tokens == 0 || !validated {
            return Ok(None);
        }
        let (prompt, stops) = self.task.sample();
        let sampling = Sampling { temperature: 0.8, seed: self.settings.common.seed, ..Sampling::default() };
        let mut session = Session::new(&self.trainer.gpu, &self.trainer.model)?;
        let limits = Limits { count: tokens, stops: &stops, ..Limits::default() };
        let generated = generate(&mut session, &prompt, limits, &sampling, |_, _| (), |_| true).await?;
        let text = self.codec.tokenizer.decode(&[prompt, generated.tokens].concat());
        Ok(Some(Sample { text, score: None }))
    }

    async fn finish(&mut self, out: &Path) -> Result<()> {
        self.task.finish(&mut self.trainer, out).await
    }

    async fn save(&mut self, out: &Path) -> Result<Option<PathBuf>> {
        state::save(out, &self.trainer, &self.codec, &self.settings, self.best_val_loss).await
    }

    fn curves(&self, lines: &[Value]) -> Result<(&'static str, String)> {
        Ok(("loss.svg", curve::loss_curve(lines)?))
    }
}
