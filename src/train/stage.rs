//! What all training stages share: steps, validation, samples, checkpoints, and the log of a run.

use std::{path::Path, sync::atomic::AtomicBool};

use serde::Serialize;
use serde_json::{Map, Value, json};
use web_time::Instant;

use super::{
    Settings,
    coordination::{self, Log, Vote},
    run,
    task::{Task, Validation},
    trainer::{Outcome, Pending, Trainer},
};
use crate::{
    Error, Result,
    infer::{
        generate::{Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    interchange::TextCodec,
    io::{atomic, metrics},
    parallel::Group,
    report::curve,
};

/// What happens during a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The tuner times variants of a class: which, of how many.
    Tuning(&'a str, usize, usize),
    /// A step is done.
    Step(&'a Progress),
    /// A validation is done: step, what it found.
    Validated(u64, &'a Validation),
    /// A sample was drawn at a step.
    Sample(u64, &'a str),
    /// A checkpoint was written.
    Saved(&'a Path),
}

/// The numbers after a step.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Its loss.
    pub loss: f32,
    /// Its gradient norm.
    pub norm: f32,
    /// Its learning rate.
    pub lr: f32,
    /// Seconds since the step before.
    pub seconds: f64,
    /// What else the task measures, by name.
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
    /// What else the last validation found, by name.
    #[serde(flatten)]
    pub validation: Map<String, Value>,
    /// Median over steps.
    pub tokens_per_second: f64,
    /// Median over steps.
    pub ms_per_step: f64,
    /// Trained numbers.
    pub parameters: usize,
    /// Whether the run was asked to stop before its last step.
    pub stopped: bool,
    /// The ranks that trained together, if there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<RankSummary>,
}

/// What several ranks did together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RankSummary {
    /// How many.
    pub ranks: usize,
    /// On how many hosts.
    pub hosts: usize,
    /// Bytes that the first one sent.
    pub bytes_sent: u64,
}

impl RankSummary {
    /// What `group` did; none where a rank was alone.
    pub fn of(group: &Group) -> Option<Self> {
        (group.size() > 1).then(|| Self { ranks: group.size(), hosts: group.hosts(), bytes_sent: group.sent() })
    }
}

/// A run in a folder.
pub struct Stage<'a, T> {
    /// The run's folder.
    pub out: &'a Path,
    /// What to do.
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

impl<T: Task> Stage<'_, T> {
    /// Trains to the last step, or until stopped.
    ///
    /// # Errors
    /// [`Error::Diverged`], [`Error::DeviceLost`] with the checkpoint to go on from, [`Error::Io`]; the last checkpoint stays.
    pub async fn run(&mut self, event: impl FnMut(Event<'_>)) -> Result<Summary> {
        let (out, group) = (self.out, self.trainer.group());
        self.train(event).await.map_err(|error| run::interrupted(out, &group, error))
    }

    async fn train(&mut self, mut event: impl FnMut(Event<'_>)) -> Result<Summary> {
        let settings = self.settings.clone();
        let first = self.trainer.optimizer.step;
        let log = self.out.join("metrics.jsonl");
        let group = self.trainer.group();
        coordination::agree(&group, &(&settings, first))?;
        if first == 0 {
            // From here on the folder always holds a checkpoint, whenever the run is killed.
            run::save(self.out, &self.trainer, &self.codec, &settings, None).await?;
        } else {
            run::rejoin(self.out, &mut self.trainer)?;
        }
        let mut metrics = Log::open(&group, &log, first)?;
        self.tune(&group, &mut event).await?;

        let mut times = Vec::new();
        let (mut first_loss, mut last) = (None, None);
        let (mut val_loss, mut val_step, mut found) = (None, None, Map::new());
        let tokens = self.task.tokens_per_step(&settings);
        let mut pending: Option<(u64, Pending)> = None;
        let mut clock = Instant::now();
        let mut stopped = false;
        for step in first..settings.schedule.steps {
            group.check()?;
            // A wish to stop is heard where the ranks meet.
            let vote = self.trainer.replica.meets().then(|| Vote::cast(&group, self.stop));
            let now = self.task.step(&mut self.trainer, &settings, step)?;
            // The step before is read while this one runs.
            let before = pending.replace((step, now));
            let done = step + 1;
            stopped = vote.map_or(Ok(false), Vote::stops)? && done < settings.schedule.steps;
            let ends = stopped || done == settings.schedule.steps;
            let validates = done % settings.val_every == 0 || done == settings.schedule.steps;
            let saves = ends || done % settings.save_every == 0;
            let flush = if ends || validates || saves { pending.take() } else { None };
            let mut outcomes = Vec::new();
            for (step, pending) in before.into_iter().chain(flush) {
                outcomes.push((step, pending.outcome().await?));
            }
            // Two steps that are read together share the time since the one before them.
            let seconds = clock.elapsed().as_secs_f64() / outcomes.len().max(1) as f64;
            if !outcomes.is_empty() {
                clock = Instant::now();
            }
            for (step, outcome) in outcomes {
                self.trainer.observe(step, &outcome)?;
                let Outcome { loss, norm, metrics: numbers } = outcome;
                if !loss.is_finite() {
                    return Err(Error::Diverged { step: step as usize, loss });
                }
                times.push(seconds);
                let progress =
                    Progress { step: step + 1, loss, norm, lr: settings.schedule.at(step), seconds, metrics: numbers };
                let mut line = json!({
                    "stage": T::STAGE, "step": step, "train_loss": loss, "gradient_norm": norm, "learning_rate": progress.lr,
                    "tokens_per_second": tokens as f64 / seconds.max(1e-9),
                });
                progress.metrics.iter().for_each(|(name, value)| line[*name] = json!(value));
                metrics.append(&line)?;
                event(Event::Step(&progress));
                first_loss.get_or_insert(loss);
                last = Some(loss);
            }
            if validates || saves {
                self.trainer.replica.meet()?;
            }
            let validation = match validates {
                true => self.task.validate(&self.trainer, &settings).await?,
                false => None,
            };
            if let Some(validation) = validation {
                let loss = validation.loss;
                (val_loss, val_step) = (Some(loss), Some(done));
                self.best_val_loss = Some(self.best_val_loss.map_or(loss, |best| best.min(loss)));
                found = validation.metrics.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
                let mut line = json!({ "stage": T::STAGE, "step": done - 1, "val_loss": loss });
                validation.metrics.iter().for_each(|(name, value)| line[*name] = json!(value));
                metrics.append(&line)?;
                event(Event::Validated(done, &validation));
                if group.is_first() {
                    self.sample(done, &mut metrics, &mut event).await?;
                }
            }
            if saves {
                if done == settings.schedule.steps && group.is_first() {
                    self.task.finish(&mut self.trainer, self.out).await?;
                }
                let (trainer, codec, best) = (&self.trainer, &self.codec, self.best_val_loss);
                if let Some(folder) = run::save(self.out, trainer, codec, &settings, best).await? {
                    self.draw(&log)?;
                    event(Event::Saved(&folder));
                }
            }
            if validates || saves {
                clock = Instant::now();
            }
            if ends {
                break;
            }
        }
        debug_assert!(stopped || val_step.is_none() || val_step == Some(settings.schedule.steps));
        times.sort_by(f64::total_cmp);
        let seconds = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        Ok(Summary {
            step: self.trainer.optimizer.step,
            first_loss: first_loss.unwrap_or(f32::NAN),
            train_loss: last.unwrap_or(f32::NAN),
            val_loss,
            best_val_loss: self.best_val_loss,
            validation: found,
            tokens_per_second: tokens as f64 / seconds,
            ms_per_step: seconds * 1e3,
            parameters: self.trainer.model.size(),
            stopped,
            together: RankSummary::of(&group),
        })
    }

    /// Rehearses a step, then times the variants of every shape class that is new on this adapter.
    async fn tune(&mut self, group: &Group, event: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let Self { task, trainer, settings, .. } = self;
        let gpu = trainer.gpu.clone();
        let rehearse = async || task.rehearse(trainer, settings);
        coordination::tune(&gpu, group, rehearse, |class, index, count| event(Event::Tuning(class, index, count))).await
    }

    /// Lets the model write.
    async fn sample(&self, step: u64, metrics: &mut Log, event: &mut impl FnMut(Event<'_>)) -> Result<()> {
        let tokens = self.settings.sample_tokens;
        if tokens == 0 {
            return Ok(());
        }
        let (prompt, stops) = self.task.sample();
        let sampling = Sampling { temperature: 0.8, seed: self.settings.seed, ..Sampling::default() };
        let mut session = Session::new(&self.trainer.gpu, &self.trainer.model)?;
        let limits = Limits { count: tokens, stops: &stops, ..Limits::default() };
        let generated = generate(&mut session, &prompt, limits, &sampling, |_, _| (), |_| true).await?;
        let text = self.codec.tokenizer.decode(&[prompt, generated.tokens].concat());
        metrics.append(&json!({ "step": step - 1, "sample": text }))?;
        event(Event::Sample(step, &text));
        Ok(())
    }

    fn draw(&self, log: &Path) -> Result<()> {
        let lines = metrics::read(log)?;
        atomic::write(&self.out.join("loss.svg"), curve::loss_curve(&lines)?.as_bytes())
    }
}
