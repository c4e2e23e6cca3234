//! The training of a round: a reward model from ratings, then the policy against reward models.

use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use super::super::{
    Shared,
    judges::Learned,
    reinforce,
    training::{learn, trainer},
};
use wgpt::{
    Error, Result,
    feedback::RatingSource,
    gpu::Gpu,
    interchange::{self, TextCodec, adapter, load},
    io::{
        atomic,
        checkpoint::{self, Checkpoint},
    },
    model::heads::{ScalarHead, Start},
    optim::Schedule,
    train::{
        Settings,
        judge::Judge,
        ppo::{
            Ppo, Progress,
            prompts::Prompts,
            run::{self as reinforcement, Run, Summary},
            settings::{self as ppo, Algorithm},
        },
        reward::{self, Data, Ensemble, Reader, Reward},
        rlhf::{kl::KlController, response::MissingStop},
        settings::Common,
        state,
        trainer::Trainer,
    },
};

/// Sizes, steps and rates of a round.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Comparisons per step of the reward model, and passes over them.
    pub reward_batch: usize,
    pub reward_epochs: usize,
    pub reward_lr: f32,
    /// Share of the rated prompts that the reward model is tested on.
    pub val_fraction: f64,
    /// Answers per step of PPO, passes over them, and steps.
    pub batch: usize,
    pub epochs: usize,
    pub steps: u64,
    pub lr: f32,
    /// Initial coefficient of the KL penalty, target in nats per answer, and episodes over which the coefficient adapts.
    pub beta: f64,
    pub target_kl: f64,
    pub horizon: f64,
    pub temperature: f32,
    /// Maximum number of tokens in an answer.
    pub max_tokens: usize,
    pub save_every: u64,
}

impl Recipe {
    /// The settings of PPO, but for what they were made from.
    pub fn ppo(&self, codec: &TextCodec, prompt_tokens: usize, seed: u64) -> ppo::Settings {
        let plain = ppo::Settings::recipe(Algorithm::PPO);
        ppo::Settings {
            steps: self.steps,
            batch: self.batch,
            epochs: self.epochs,
            lr: self.lr,
            temperature: self.temperature,
            prompt_tokens,
            max_tokens: self.max_tokens,
            stops: codec.conventions.stops.clone(),
            missing_stop: MissingStop::Score(-1.0),
            controller: KlController::Adaptive { beta: self.beta, target: self.target_kl, horizon: self.horizon },
            // Reward models already use the scale of the first chat model.
            normalise: 0,
            common: Common { seed, save_every: self.save_every, ..plain.common },
            limits: ppo::Limits { kl: 5.0 * self.target_kl, ..ppo::Limits::default() },
            ..plain
        }
    }
}

/// The held-out accuracy that a reward model's run has written.
fn evaluated(run: &Path) -> Option<f64> {
    let text = std::fs::read(run.join("evaluation.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&text).ok()?["accuracy"].as_f64()
}

/// A round's training.
pub(crate) struct Training<'a> {
    pub shared: &'a Shared,
    pub gpu: &'a Gpu,
    /// The codec of the chat model.
    pub codec: &'a TextCodec,
    pub recipe: Recipe,
    pub seed: u64,
    pub stop: &'a AtomicBool,
}

/// What a reward model learned.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RewardResult {
    pub val_loss: Option<f64>,
    /// Share of the held-out comparisons that it decides as they were rated.
    pub accuracy: Option<f64>,
}

impl Training<'_> {
    /// Trains a reward model on `ratings` in `out`, or resumes it: on top of the chat model at `base`, or going on from it if
    /// it is a reward model. Its rewards are normalised over the `reference` texts. [`None`] if it was asked to stop.
    pub async fn reward(
        &self,
        base: &Path,
        out: &Path,
        ratings: &dyn RatingSource,
        reference: Vec<Vec<u32>>,
    ) -> Result<Option<RewardResult>> {
        let recipe = &self.recipe;
        let config = interchange::open(base)?.config().clone();
        let reader = Reader::new(self.codec, config.context)?;
        let data = Data::load(ratings, None, &reader, |_, _| ())?;
        data.remarks().iter().for_each(|remark| self.shared.say(format_args!("ratings: {remark}")));
        let learned = reward::Recipe { epochs: recipe.reward_epochs, ..reward::Recipe::new(data.objective) };
        let plain = Settings::reward(config.clone(), learned);
        let settings = Settings {
            common: Common { seed: self.seed, ..plain.common },
            batch: recipe.reward_batch,
            context: config.context,
            val_fraction: recipe.val_fraction,
            data: Some(format!("{:016x}", data.fingerprint())),
            ..plain
        };
        let task = Reward::new(data.comparisons, &settings, learned, Some(reference))?;
        let steps = task.steps(&settings);
        let schedule = Schedule { lr: recipe.reward_lr, steps, ..settings.schedule };
        let settings = Settings { schedule, val_every: steps.div_ceil(2).max(1), ..settings };
        let fresh = || {
            let model = load::tunable(self.gpu, base, None, self.seed, |_, _| ())?;
            let earlier = match checkpoint::resolve(base) {
                Ok(folder) => state::head(self.gpu, &Checkpoint::open(&folder)?, config.width)?,
                Err(_) => None,
            };
            let head = match earlier {
                Some(head) => head,
                None => ScalarHead::new(self.gpu, config.width, Start::Normal(self.seed))?,
            };
            Trainer::with_head(self.gpu, model, Some(head), &settings)
        };
        let trainer = trainer(self.gpu, out, &settings, fresh)?;
        let codec = self.codec.clone();
        let (summary, task) =
            learn(self.shared, self.gpu, (out, self.stop), settings.clone(), task, codec, trainer).await?;
        // A run that was complete already evaluates nothing.
        let accuracy = match &task.evaluation {
            Some(evaluation) => evaluation.accuracy,
            None => evaluated(out),
        };
        Ok(summary.map(|summary| RewardResult { val_loss: summary.val_loss, accuracy }))
    }

    /// Trains the policy at `base` in `out`, or resumes it, against the reward models in `judges`, which are less sure of an
    /// answer by `caution` times their variance. [`Summary::stopped`] tells whether it was asked to stop.
    pub async fn ppo(
        &self,
        base: &Path,
        out: &Path,
        (judges, caution): (&[PathBuf], f32),
        prompts: Prompts,
        gold: Option<Box<dyn Judge>>,
    ) -> Result<Summary> {
        let base = checkpoint::resolve(base).unwrap_or_else(|_| base.to_path_buf());
        // Names, since the folder around them may be moved.
        let names: Vec<_> = judges.iter().filter_map(|judge| Some(judge.file_name()?.to_string_lossy())).collect();
        let source = interchange::open(&base)?;
        let settings = ppo::Settings {
            base: adapter::fingerprint(&*source)?,
            judge: format!("reward:{}", names.join(",")),
            prompts: format!("{:016x}", prompts.fingerprint()),
            ..self.recipe.ppo(self.codec, prompts.longest(), self.seed)
        };
        settings.validate(source.config().context)?;
        drop(source);
        let state = checkpoint::resolve(out).is_ok().then(|| reinforcement::state(out)).transpose()?;
        let (learner, progress) = match state {
            Some(state) => {
                settings.agrees_with(&state.settings)?;
                (reinforcement::resume(self.gpu, out, &state, true)?, state.progress)
            }
            None => (reinforcement::begin(self.gpu, &base, None, &settings, true)?, Progress::new(&settings)),
        };
        atomic::private_folder(out)?;
        let judge = Box::new(Learned(Ensemble::open(self.gpu, judges, caution)?));
        let ppo = Ppo { settings, learner, prompts, judge, gold, codec: self.codec.clone(), progress };
        let base = std::path::absolute(&base).map_err(Error::io(&base, "find"))?;
        reinforce::show(self.shared, self.gpu, Run { out, base, ppo, stop: self.stop }).await
    }
}
