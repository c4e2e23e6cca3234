//! A reinforcement-learning run in a folder: how it begins, what it saves, and how it resumes.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Ppo, Progress, Sample, Step, guards::not_finite, learner::Learner, settings::Settings, statistics::Statistics,
};
use crate::{
    Error, Result,
    error::{GuardCause, Origin},
    gpu::Gpu,
    interchange::{
        self,
        adapter::{self, Adapters},
        checkpoint::CheckpointSource,
        load::{adapted, tunable},
    },
    io::{
        checkpoint::{Checkpoint, Kind},
        metrics,
    },
    model::{Gpt, build::Storage, lora::LoraConfig},
    parallel::Replica,
    report::panels,
    train::{
        rlhf::kl::KlController,
        run::{self, Ended, Event, RankSummary, Stage, Verdict},
        state::{Parts, Tuned, publish, take},
    },
};

/// The state besides weights and moments, as a checkpoint holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The run's settings.
    pub settings: Settings,
    /// Where the run was.
    pub progress: Progress,
    /// Where the policy's initial weights are: the reference is read from there again.
    pub base: PathBuf,
    /// The kernel variants that were chosen.
    #[serde(flatten)]
    pub tuned: Tuned,
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
    /// Number of trained parameters of the policy.
    pub parameters: usize,
    /// Whether the run was asked to stop before its last step.
    pub stopped: bool,
    /// The ranks that trained together, if there were several.
    #[serde(rename = "together", skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RankSummary>,
}

/// Creates the models of a new run from its base, in the same way as a resumed run reads the base again.
///
/// # Errors
/// Same as [`crate::interchange::load::tunable`].
pub fn begin(gpu: &Gpu, base: &Path, lora: Option<&LoraConfig>, settings: &Settings, value: bool) -> Result<Learner> {
    let policy = tunable(gpu, base, lora, settings.common.seed, |_, _| ())?;
    let reference = match lora {
        Some(_) => None,
        None => Some(Gpt::from_source(gpu, &*interchange::open(base)?)?),
    };
    Learner::new(gpu, policy, reference, value, settings)
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

/// Restores the models of the newest checkpoint in `out`, with their moments.
///
/// # Errors
/// [`Error::Checkpoint`] for a foreign, truncated or inconsistent one, or if the base has changed.
pub fn resume(gpu: &Gpu, out: &Path, state: &State, value: bool) -> Result<Learner> {
    let checkpoint = Checkpoint::open(out)?;
    state.tuned.adopt(gpu);
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
    let mut learner = Learner::new(gpu, policy, reference, value, &state.settings)?;
    let file = checkpoint.optimizer()?;
    for (name, tensor) in learner.state() {
        tensor.write(&take(&file, &name, tensor.shape())?)?;
        gpu.submit()?;
    }
    learner.trainer.optimizer.step = state.progress.updates;
    Ok(learner)
}

/// A policy that is trained by reinforcement learning in a folder.
pub struct Run<'a> {
    /// The run's folder.
    pub out: &'a Path,
    /// Where the policy's initial weights are.
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
    /// [`Error::Guarded`] if a guard stops it; the last good checkpoint remains. [`Error::DeviceLost`] with the
    /// checkpoint to continue from. Also the errors of the judge, of the driver and of the file system.
    pub async fn run(self, event: impl FnMut(Event<'_, Statistics>)) -> Result<Summary> {
        let Self { out, base, ppo, stop } = self;
        let mut stage = Reinforcement { base, ppo, texts: Vec::new(), origin: None };
        let Ended { first, last, seconds_per_step, stopped, ranks, .. } =
            run::run(&mut stage, out, stop, event).await?;
        let learner = &stage.ppo.learner;
        let lines = if learner.group().is_first() { metrics::read(&out.join(run::METRICS))? } else { Vec::new() };
        let last_quarter = |key: &str| {
            let all: Vec<f64> = lines.iter().filter_map(|line| line[key].as_f64()).collect();
            let tail = &all[all.len() - all.len().div_ceil(4)..];
            tail.iter().sum::<f64>() / tail.len().max(1) as f64
        };
        Ok(Summary {
            steps: stage.ppo.progress.step,
            first,
            last,
            last_quarter_kl: last_quarter("kl"),
            last_quarter_score: last_quarter("score"),
            seconds_per_step,
            parameters: learner.policy().size(),
            stopped,
            ranks,
        })
    }
}

/// Reinforcement learning as a stage of a run.
struct Reinforcement {
    base: PathBuf,
    ppo: Ppo,
    /// The last step's episodes.
    texts: Vec<Sample>,
    /// Where numbers of the last step that are not finite begin.
    origin: Option<Origin>,
}

impl Stage for Reinforcement {
    type Numbers = Statistics;
    type Pending = Step;

    /// Answers are sampled with the weights that the previous step produced.
    const OVERLAPS: bool = false;
    const PREPARES: bool = true;

    fn name(&self) -> &'static str {
        self.ppo.settings.algorithm.name()
    }

    fn gpu(&self) -> &Gpu {
        &self.ppo.learner.trainer.gpu
    }

    fn replica(&self) -> &Replica {
        &self.ppo.learner.trainer.replica
    }

    fn replica_mut(&mut self) -> &mut Replica {
        &mut self.ppo.learner.trainer.replica
    }

    fn schedule(&self) -> run::Schedule {
        let Settings { steps, common, .. } = self.ppo.settings;
        run::Schedule { steps, save_every: common.save_every, val_every: None }
    }

    fn done(&self) -> u64 {
        self.ppo.progress.step
    }

    fn settings(&self) -> Value {
        json!(self.ppo.settings)
    }

    async fn rehearse(&mut self) -> Result<()> {
        self.ppo.rehearse().await
    }

    /// Scores samples of the reference, whose mean and deviation normalise scores.
    async fn prepare(&mut self) -> Result<()> {
        self.ppo.normalise().await
    }

    async fn step(&mut self, _step: u64) -> Result<Step> {
        self.ppo.step().await
    }

    async fn numbers(&mut self, number: u64, step: Step) -> Result<Statistics> {
        self.texts = step.samples;
        if not_finite(&step.statistics).is_some() {
            self.origin = self.ppo.learner.trainer.broken_weight(number == 0).await?;
        }
        Ok(step.statistics)
    }

    fn line(&self, numbers: &Statistics, seconds: f64) -> Value {
        let mut line = json!(numbers);
        line["seconds"] = json!(seconds);
        line
    }

    fn verdict(&mut self, numbers: &Statistics) -> Verdict {
        let mut verdict = self.ppo.progress.guards.check(numbers, &self.ppo.settings.limits, self.ppo.settings.steps);
        if let Verdict::Stop(GuardCause::NotFinite { origin, .. }) = &mut verdict {
            *origin = self.origin.take();
        }
        verdict
    }

    async fn sample(&mut self, done: u64, _validated: bool) -> Result<Option<run::Sample>> {
        let Settings { steps, sample_every, .. } = self.ppo.settings;
        if sample_every == 0 || !(done == 1 || done == steps || done % sample_every == 0) {
            return Ok(None);
        }
        let text = |Sample { prompt, answer, score }: &Sample| run::Sample {
            text: format!("{prompt}{answer}"),
            score: Some(*score),
        };
        Ok(self.texts.first().map(text))
    }

    /// For a policy with adapters, saves only the adapters.
    async fn save(&mut self, out: &Path) -> Result<Option<PathBuf>> {
        let Ppo { settings, learner, codec, progress, .. } = &self.ppo;
        let kept = learner.kept().await?;
        if !learner.group().is_first() {
            return Ok(None);
        }
        let state = State {
            settings: settings.clone(),
            progress: progress.clone(),
            base: self.base.clone(),
            tuned: Tuned::of(self.gpu()),
        };
        let state = serde_json::to_value(&state).map_err(Error::json("the run's state"))?;
        // The value head is training state: a policy does not need it to write.
        let parts = Parts { model: learner.policy(), head: &[], optimizer: &kept, state: &state };
        publish(out, progress.step, parts, codec, settings.common.keep).await.map(Some)
    }

    fn curves(&self, lines: &[Value]) -> Result<(&'static str, String)> {
        let target = match self.ppo.settings.controller {
            KlController::Adaptive { target, .. } => Some(target),
            KlController::Fixed { .. } => None,
        };
        Ok(("curves.svg", panels::draw(lines, &panels::reinforcement(target))?))
    }
}
