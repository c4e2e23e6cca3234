//! The loop of every run in a folder: steps, log, validation, samples, guards, curves and checkpoints. The [`Stage`]
//! defines what a step is: [`supervised`](super::supervised) learning of a task, or [reinforcement](super::ppo::run)
//! learning.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use serde::Serialize;
use serde_json::{Value, json};
use web_time::Instant;

use super::{
    coordination::{self, Log, Spare, Vote},
    state::interrupted,
};
use crate::{
    Error, Result,
    error::GuardCause,
    gpu::Gpu,
    io::{atomic, lock::Lock, metrics},
    parallel::{Group, Replica},
};

/// When a run ends, saves and validates.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Total number of steps.
    pub steps: u64,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Steps between validations; `None` for a stage without validation.
    pub val_every: Option<u64>,
}

/// What a run does in each step.
pub trait Stage {
    /// The numbers of a step.
    type Numbers: Clone;
    /// A step whose numbers may still be on the GPU.
    type Pending;

    /// Whether a step is recorded while the GPU runs the one before. Otherwise [`Stage::step`] waits for its own.
    const OVERLAPS: bool;
    /// Whether a new run has something to [prepare](Stage::prepare). As that may fail, nothing is saved before it.
    const PREPARES: bool;

    /// The stage's name in metrics.
    fn name(&self) -> &'static str;

    /// The device.
    fn gpu(&self) -> &Gpu;

    /// Keeps this copy of the trained parameters in step with those of the other ranks.
    fn replica(&self) -> &Replica;

    /// The replica, for synchronising the ranks.
    fn replica_mut(&mut self) -> &mut Replica;

    /// When the run ends, saves and validates.
    fn schedule(&self) -> Schedule;

    /// Number of steps done.
    fn done(&self) -> u64;

    /// The settings, which all ranks must share.
    fn settings(&self) -> Value;

    /// Restores the replica of a resumed run from the checkpoint in `out`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a truncated or inconsistent one.
    fn rejoin(&mut self, _out: &Path) -> Result<()> {
        Ok(())
    }

    /// Compiles every kernel of a step and shows the tuner every shape. Changes nothing that is saved.
    ///
    /// # Errors
    /// Same as [`Stage::step`].
    fn rehearse(&mut self) -> impl Future<Output = Result<()>>;

    /// Computes what a new run needs before its first step, after kernels are tuned; see [`Stage::PREPARES`].
    ///
    /// # Errors
    /// Returns the errors of the stage and of the driver.
    fn prepare(&mut self) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// Takes step number `step`.
    ///
    /// # Errors
    /// Returns the errors of the stage and of the driver, and [`Error::Rank`].
    fn step(&mut self, step: u64) -> impl Future<Output = Result<Self::Pending>>;

    /// The numbers of step `step`, once the GPU has them.
    ///
    /// # Errors
    /// [`Error::Diverged`], and the driver's errors.
    fn numbers(&mut self, step: u64, pending: Self::Pending) -> impl Future<Output = Result<Self::Numbers>>;

    /// The step's line in the metrics; the loop adds the step's number and the stage's name.
    fn line(&self, numbers: &Self::Numbers, seconds: f64) -> Value;

    /// Judges a step by its numbers.
    fn verdict(&mut self, _numbers: &Self::Numbers) -> Verdict {
        Verdict::Fine
    }

    /// Evaluates on the held-out data; `None` if nothing is held out, or where another rank does it.
    ///
    /// # Errors
    /// Returns the driver's errors.
    fn validate(&mut self) -> impl Future<Output = Result<Option<Validation>>> {
        async { Ok(None) }
    }

    /// Lets the model write a sample if one is due after `done` steps; `validated` tells whether a validation followed
    /// the last of them. Only called on the first rank.
    ///
    /// # Errors
    /// Returns the driver's errors.
    fn sample(&mut self, done: u64, validated: bool) -> impl Future<Output = Result<Option<Sample>>>;

    /// Called after the last step and its validation, before the last checkpoint, on the first rank only. `out` is the
    /// run's folder.
    ///
    /// # Errors
    /// [`Error::Io`], and the driver's errors.
    fn finish(&mut self, _out: &Path) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// Writes a checkpoint into the run's folder `out`, atomically. Called on all ranks; the first one writes, and
    /// returns the checkpoint's folder.
    ///
    /// # Errors
    /// [`Error::Io`] (older checkpoints stay), [`Error::Rank`], and the driver's errors.
    fn save(&mut self, out: &Path) -> impl Future<Output = Result<Option<PathBuf>>>;

    /// Draws the curves of the lines of metrics; returns the picture's file name and its SVG.
    ///
    /// # Errors
    /// [`Error::Config`] for lines without curves.
    fn curves(&self, lines: &[Value]) -> Result<(&'static str, String)>;
}

/// The result of a validation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// Mean loss.
    pub loss: f64,
    /// Other measurements of the stage, by name.
    pub metrics: Vec<(&'static str, f64)>,
}

/// What a stage's guards say about a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// As it should be: a checkpoint may be saved.
    Fine,
    /// Over a limit, but not for long enough to stop; no checkpoint is saved meanwhile.
    Suspicious(GuardCause),
    /// The run must stop.
    Stop(GuardCause),
}

/// A text that a model wrote.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The prompt, and what the model wrote after it.
    pub text: String,
    /// The judge's score, if there is a judge.
    pub score: Option<f32>,
}

/// What happens during a run, for the caller to show.
#[derive(Debug)]
pub enum Event<'a, N> {
    /// The kernels of a step are compiled.
    Compiling,
    /// The tuner times variants of a class: the class, its index, and the number of classes.
    Tuning(&'a str, usize, usize),
    /// The stage computes what it needs before its first step.
    Preparing,
    /// A step is done.
    Step(&'a StepReport<N>),
    /// The validation after this many steps begins.
    Validating(u64),
    /// A validation is done: the step, and the result.
    Validated(u64, &'a Validation),
    /// A sample was drawn after this many steps.
    Sample(u64, &'a Sample),
    /// A guard considers a step suspicious.
    Suspicious(&'a GuardCause),
    /// A checkpoint was written.
    Saved(&'a Path),
}

/// A step that is done.
#[derive(Clone, Debug)]
pub struct StepReport<N> {
    /// Number of steps done.
    pub step: u64,
    /// Seconds since the step before.
    pub seconds: f64,
    /// The step's numbers.
    pub numbers: N,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended<N> {
    /// Numbers of this run's first step.
    pub first: Option<N>,
    /// Numbers of the last step.
    pub last: Option<N>,
    /// The last validation.
    pub validation: Option<Validation>,
    /// Median seconds of a step.
    pub seconds_per_step: f64,
    /// Whether the run was asked to stop before its last step.
    pub stopped: bool,
    /// The ranks that trained together, if there were several.
    pub ranks: Option<RankSummary>,
}

/// A summary of several ranks' work.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RankSummary {
    /// Number of ranks.
    pub ranks: usize,
    /// Number of hosts.
    pub hosts: usize,
    /// Bytes that the first rank sent.
    pub bytes_sent: u64,
}

impl RankSummary {
    /// The summary of `group`; `None` for a single rank.
    pub fn of(group: &Group) -> Option<Self> {
        (group.size() > 1).then(|| Self { ranks: group.size(), hosts: group.hosts(), bytes_sent: group.sent() })
    }
}

/// The file name of the log in a run's folder.
pub const METRICS: &str = "metrics.jsonl";

/// Runs `stage` in the folder `out` to its last step, or until `stop` is set: then the current step is finished and
/// saved, and the run ends.
///
/// # Errors
/// [`Error::Checkpoint`] if another process trains in the folder, [`Error::Diverged`], [`Error::Guarded`] if a guard stops
/// it, [`Error::DeviceLost`] and [`Error::Rank`] with the checkpoint to continue from, [`Error::Io`], and the errors of
/// the stage. The last checkpoint remains.
pub async fn run<S: Stage>(
    stage: &mut S,
    out: &Path,
    stop: &AtomicBool,
    event: impl FnMut(Event<'_, S::Numbers>),
) -> Result<Ended<S::Numbers>> {
    train(stage, out, stop, event).await.map_err(|error| interrupted(out, error))
}

async fn train<S: Stage>(
    stage: &mut S,
    out: &Path,
    stop: &AtomicBool,
    mut event: impl FnMut(Event<'_, S::Numbers>),
) -> Result<Ended<S::Numbers>> {
    let Schedule { steps, save_every, val_every } = stage.schedule();
    let (gpu, group, first) = (stage.gpu().clone(), stage.replica().group().clone(), stage.done());
    let _lock = group.is_first().then(|| Lock::take(out)).transpose()?;
    coordination::agree(&group, &(stage.settings(), first))?;
    let prepares = first == 0 && S::PREPARES;
    // A folder with a log has a checkpoint, whenever the run is killed.
    if first > 0 {
        stage.rejoin(out)?;
    } else if !prepares {
        stage.save(out).await?;
    }
    let log = out.join(METRICS);
    let open_log = || Log::open(&group, &log, first);
    let opened = if prepares { None } else { Some(open_log()?) };
    event(Event::Compiling);
    let report = |class: &str, index, count| event(Event::Tuning(class, index, count));
    coordination::tune(&gpu, &group, async || stage.rehearse().await, report).await?;
    if prepares {
        event(Event::Preparing);
        stage.prepare().await?;
        stage.save(out).await?;
    }
    let mut metrics = opened.map_or_else(open_log, Ok)?;

    let mut times = Vec::new();
    let (mut first_numbers, mut last_numbers, mut last_validation) = (None, None, None);
    let mut pending: Option<(u64, S::Pending)> = None;
    let mut clock = Instant::now();
    let mut spare = Spare::begin();
    let mut stopped = false;
    for step in first..steps {
        group.check()?;
        let meets = stage.replica().meets();
        let now = stage.step(step).await?;
        // The numbers of the previous step are read while this one runs.
        let before = pending.replace((step, now));
        let done = step + 1;
        // The ranks decide together whether to stop, at steps where they synchronise.
        let vote = || Ok::<_, Error>(meets && Vote::cast(&group, stop).stops()? && done < steps);
        if S::OVERLAPS {
            stopped = vote()?;
        }
        let last = done == steps;
        let validates = val_every.is_some_and(|every| done % every == 0 || last);
        let due = stopped || last || done % save_every == 0;
        let tunes = spare.is_due(&group);
        let flush = if validates || due || tunes || !S::OVERLAPS { pending.take() } else { None };
        let mut read = Vec::new();
        for (step, pending) in before.into_iter().chain(flush) {
            read.push((step, stage.numbers(step, pending).await?));
        }
        // Two steps that are read together share the time since the step before them.
        let seconds = clock.elapsed().as_secs_f64() / read.len().max(1) as f64;
        if !read.is_empty() {
            clock = Instant::now();
        }
        let mut verdict = Verdict::Fine;
        for (step, numbers) in read {
            times.push(seconds);
            verdict = stage.verdict(&numbers);
            let mut line = stage.line(&numbers, seconds);
            line["step"] = json!(step);
            line["stage"] = json!(stage.name());
            metrics.append(&line)?;
            let report = StepReport { step: step + 1, seconds, numbers };
            event(Event::Step(&report));
            first_numbers.get_or_insert_with(|| report.numbers.clone());
            last_numbers = Some(report.numbers);
        }
        if !S::OVERLAPS {
            stopped = vote()?;
        }
        let (ends, due) = (stopped || last, stopped || due);
        if validates || due {
            stage.replica_mut().meet()?;
        }
        if validates {
            event(Event::Validating(done));
        }
        let validation = if validates { stage.validate().await? } else { None };
        if let Some(found) = &validation {
            let mut line = json!({ "stage": stage.name(), "step": step, "val_loss": found.loss });
            found.metrics.iter().for_each(|(name, value)| line[*name] = json!(value));
            metrics.append(&line)?;
            event(Event::Validated(done, found));
        }
        if group.is_first()
            && let Some(sample) = stage.sample(done, validation.is_some()).await?
        {
            let mut line = json!({ "step": step, "sample": sample.text });
            if let Some(score) = sample.score {
                line["sample_score"] = json!(score);
            }
            metrics.append(&line)?;
            event(Event::Sample(done, &sample));
        }
        last_validation = validation.or(last_validation);
        let fine = match verdict {
            Verdict::Fine => true,
            Verdict::Suspicious(cause) => {
                event(Event::Suspicious(&cause));
                false
            }
            Verdict::Stop(cause) => {
                if group.is_first() {
                    draw(stage, out, &log)?;
                }
                metrics.append(&json!({ "step": step, "stopped_because": cause.to_string() }))?;
                return Err(Error::Guarded { step: done, cause });
            }
        };
        // While a guard is suspicious, the older checkpoint is the better one; but the work so far is saved when the
        // run ends.
        if ends || due && fine {
            if last && group.is_first() {
                stage.finish(out).await?;
            }
            if let Some(folder) = stage.save(out).await? {
                draw(stage, out, &log)?;
                event(Event::Saved(&folder));
            }
        }
        if ends {
            break;
        }
        if tunes {
            spare.answer(&gpu).await?;
        }
        if validates || due || tunes {
            clock = Instant::now();
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(Ended {
        first: first_numbers,
        last: last_numbers,
        validation: last_validation,
        seconds_per_step: times.get(times.len() / 2).copied().unwrap_or(f64::NAN),
        stopped,
        ranks: RankSummary::of(&group),
    })
}

/// Draws the curves of the run's log.
fn draw(stage: &impl Stage, out: &Path, log: &Path) -> Result<()> {
    let (name, svg) = stage.curves(&metrics::read(log)?)?;
    atomic::write(&out.join(name), svg.as_bytes())
}
