//! A reinforcement-learning run in a folder: steps, log, curves, checkpoints, guards.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use web_time::Instant;

use super::{Ppo, Progress, Sample, guards::Verdict, learner::Learner, settings::Settings, statistics::Statistics};
use crate::{
    Error, Result,
    error::GuardCause,
    gpu::Gpu,
    interchange::{
        self,
        adapter::{self, Adapters},
        checkpoint::CheckpointSource,
        load::{adapted, tunable},
    },
    io::{
        atomic,
        checkpoint::{Checkpoint, Kind},
        metrics,
    },
    model::{Gpt, build::Storage, lora::LoraConfig},
    report::panels,
    train::{
        coordination::{self, Log, Vote},
        run::{Parts, interrupted, keep, publish, take},
        stage::RankSummary,
    },
};

/// The state beside weights and moments, as a checkpoint holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The run's settings.
    pub settings: Settings,
    /// Where the run was.
    pub progress: Progress,
    /// Where the policy's first weights lay: the reference is read from there again.
    pub base: PathBuf,
    /// The adapter, and the variants that were chosen on it: other choices may round differently.
    pub adapter: String,
    /// Choices by class.
    pub choices: std::collections::BTreeMap<String, String>,
}

/// What happens during a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The tuner times variants of a class: which, of how many.
    Tuning(&'a str, usize, usize),
    /// The reference is sampled and scored.
    Normalising,
    /// A step is done, in this many seconds.
    Step(&'a Statistics, f64),
    /// A sample and its score, after this many steps.
    Sample(u64, &'a str, f32),
    /// A guard is worried.
    Suspicious(&'a GuardCause),
    /// A checkpoint was written.
    Saved(&'a Path),
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Steps done.
    pub steps: u64,
    /// Numbers of this run's first step.
    pub first: Option<Statistics>,
    /// Numbers of the last step.
    pub last: Option<Statistics>,
    /// Mean KL over the last quarter of the steps in the log.
    pub last_quarter_kl: f64,
    /// Mean score over the last quarter of the steps in the log.
    pub last_quarter_score: f64,
    /// Median over steps.
    pub seconds_per_step: f64,
    /// Trained numbers of the policy.
    pub parameters: usize,
    /// Whether the run was asked to stop before its last step.
    pub stopped: bool,
    /// The ranks that trained together, if there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<RankSummary>,
}

/// The models of a new run, and its base as a resumed run finds it again.
///
/// # Errors
/// As [`crate::interchange::load::tunable`].
pub fn begin(gpu: &Gpu, base: &Path, lora: Option<&LoraConfig>, settings: &Settings, value: bool) -> Result<Learner> {
    let policy = tunable(gpu, base, lora, settings.seed, |_, _| ())?;
    let reference = match lora {
        Some(_) => None,
        None => Some(Gpt::from_source(gpu, &*interchange::open(base)?)?),
    };
    Learner::new(gpu, policy, reference, value, settings.optimizer)
}

/// The state of the newest checkpoint in `out`.
///
/// # Errors
/// [`Error::Checkpoint`] for a foreign, truncated or inconsistent one.
pub fn state(out: &Path) -> Result<State> {
    let checkpoint = Checkpoint::open(out)?;
    serde_json::from_value(checkpoint.state()?)
        .map_err(|error| Error::checkpoint(&checkpoint.folder, format!("state.json is of no such run: {error}")))
}

/// The models of the newest checkpoint in `out`, with their moments, as they were.
///
/// # Errors
/// [`Error::Checkpoint`] for a foreign, truncated or inconsistent one, and when the base is not what it was.
pub fn resume(gpu: &Gpu, out: &Path, state: &State, value: bool) -> Result<Learner> {
    let checkpoint = Checkpoint::open(out)?;
    if state.adapter == gpu.tuner().adapter() {
        gpu.tuner().adopt(state.choices.clone());
    }
    let (policy, reference) = match checkpoint.kind {
        Kind::Adapter => (adapted(gpu, &Adapters::open(out)?, Storage::AsStored, |_, _| ())?, None),
        Kind::Model => {
            let source = interchange::open(&state.base)?;
            if adapter::fingerprint(&*source)? != state.settings.base {
                let reason = format!("{} holds other weights than when the run began", state.base.display());
                return Err(Error::checkpoint(&checkpoint.folder, reason));
            }
            (Gpt::from_source(gpu, &CheckpointSource::open(out)?)?, Some(Gpt::from_source(gpu, &*source)?))
        }
    };
    let mut learner = Learner::new(gpu, policy, reference, value, state.settings.optimizer)?;
    let file = checkpoint.optimizer()?;
    for (name, tensor) in learner.state() {
        tensor.write(&take(&file, &name, tensor.shape())?)?;
        gpu.submit()?;
    }
    learner.optimizer.step = state.progress.updates;
    Ok(learner)
}

/// A run in a folder.
pub struct Run<'a> {
    /// The run's folder.
    pub out: &'a Path,
    /// Where the policy's first weights lie.
    pub base: PathBuf,
    /// What is trained.
    pub ppo: Ppo,
    /// Set from outside to finish the step, save and end.
    pub stop: &'a AtomicBool,
}

impl Run<'_> {
    /// Trains to the last step, or until stopped.
    ///
    /// # Errors
    /// [`Error::Guarded`] when a guard stops it; the last good checkpoint stays. [`Error::DeviceLost`] with the checkpoint to go
    /// on from. Those of the judge, of the driver and of the file system.
    pub async fn run(self, event: impl FnMut(Event<'_>)) -> Result<Summary> {
        let (out, group) = (self.out, self.ppo.learner.group());
        self.train(event).await.map_err(|error| interrupted(out, &group, error))
    }

    async fn train(mut self, mut event: impl FnMut(Event<'_>)) -> Result<Summary> {
        let settings = self.ppo.settings.clone();
        let first = self.ppo.progress.step;
        let log = self.out.join("metrics.jsonl");
        let group = self.ppo.learner.group();
        coordination::agree(&group, &(&settings, first))?;
        self.ppo.tune(|class, index, count| event(Event::Tuning(class, index, count))).await?;
        if first == 0 {
            event(Event::Normalising);
            self.ppo.normalise().await?;
            // From here on the folder always holds a checkpoint, whenever the run is killed.
            self.save().await?;
        }
        let mut metrics = Log::open(&group, &log, first)?;
        let (mut times, mut first_step, mut last, mut stopped) = (Vec::new(), None, None, false);
        for step in first..settings.steps {
            let clock = Instant::now();
            let done = self.ppo.step().await?;
            let seconds = clock.elapsed().as_secs_f64();
            times.push(seconds);
            let verdict = self.ppo.progress.guards.check(&done.statistics, &settings.limits);
            let mut line = serde_json::to_value(done.statistics).map_err(Error::json("a step's statistics"))?;
            line["seconds"] = json!(seconds);
            line["stage"] = json!(settings.algorithm.name());
            metrics.append(&line)?;
            event(Event::Step(&done.statistics, seconds));
            first_step.get_or_insert(done.statistics);
            last = Some(done.statistics);
            let ends = step + 1 == settings.steps;
            if settings.sample_every > 0 && (step == 0 || ends || (step + 1) % settings.sample_every == 0) {
                // A batch is never empty.
                let Sample { prompt, answer, score } = &done.samples[0];
                let text = format!("{prompt}{answer}");
                metrics.append(&json!({ "step": step, "sample": text, "sample_score": score }))?;
                event(Event::Sample(step + 1, &text, *score));
            }
            stopped = Vote::cast(&group, self.stop).stops()? && !ends;
            match verdict {
                Verdict::Stop(cause) => {
                    if group.is_first() {
                        self.draw(&log)?;
                    }
                    metrics.append(&json!({ "step": step, "stopped_because": cause.to_string() }))?;
                    return Err(Error::Guarded { step: step + 1, cause });
                }
                Verdict::Suspicious(cause) => event(Event::Suspicious(&cause)),
                Verdict::Fine => {}
            }
            // While a guard is worried, the older checkpoint is the better one; but work is not thrown away at an end.
            let fine = self.ppo.progress.guards.calm();
            let saves = ends || stopped || fine && (step + 1) % settings.save_every == 0;
            if saves && let Some(folder) = self.save().await? {
                self.draw(&log)?;
                event(Event::Saved(&folder));
            }
            if stopped {
                break;
            }
        }
        times.sort_by(f64::total_cmp);
        let lines = if group.is_first() { metrics::read(&log)? } else { Vec::new() };
        let last_quarter = |key: &str| {
            let all: Vec<f64> = lines.iter().filter_map(|line| line[key].as_f64()).collect();
            let tail = &all[all.len() - all.len().div_ceil(4)..];
            tail.iter().sum::<f64>() / tail.len().max(1) as f64
        };
        Ok(Summary {
            steps: self.ppo.progress.step,
            first: first_step,
            last,
            last_quarter_kl: last_quarter("kl"),
            last_quarter_score: last_quarter("score"),
            seconds_per_step: times.get(times.len() / 2).copied().unwrap_or(f64::NAN),
            parameters: self.ppo.learner.policy.size(),
            stopped,
            together: RankSummary::of(&group),
        })
    }

    /// Writes a checkpoint: all of it or nothing. Of a policy with adapters, the adapters alone. All ranks ask; the first writes.
    async fn save(&mut self) -> Result<Option<PathBuf>> {
        self.ppo.learner.replica.meet()?;
        let Ppo { settings, learner, codec, progress, .. } = &self.ppo;
        let kept = keep(&learner.replica, learner.state().into_iter()).await?;
        if !learner.group().is_first() {
            return Ok(None);
        }
        let tuner = learner.gpu.tuner();
        let state = State {
            settings: settings.clone(),
            progress: progress.clone(),
            base: self.base.clone(),
            adapter: tuner.adapter().to_string(),
            choices: tuner.choices(),
        };
        let state = serde_json::to_value(&state).map_err(Error::json("the run's state"))?;
        // The value head is training state: a policy needs none to write.
        let parts = Parts { model: &learner.policy, head: &[], optimizer: &kept, state: &state };
        publish(self.out, progress.step, parts, codec, settings.keep).await.map(Some)
    }

    fn draw(&self, log: &Path) -> Result<()> {
        let target = match self.ppo.settings.controller {
            crate::train::rlhf::kl::KlController::Adaptive { target, .. } => Some(target),
            crate::train::rlhf::kl::KlController::Fixed { .. } => None,
        };
        let svg = panels::draw(&metrics::read(log)?, &panels::reinforcement(target))?;
        atomic::write(&self.out.join("curves.svg"), svg.as_bytes())
    }
}
