//! The settings of a reinforcement-learning run. They are saved with every checkpoint, and a resumed run must agree
//! with them.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    optim::{AdamW, Decay, Schedule},
    train::{
        rlhf::{kl::KlController, response::MissingStop},
        settings::{Common, Precision, difference},
        trainer::StepSettings,
    },
};

/// The lowest temperature: scores are divided by it, in f32.
const COLDEST: f32 = 1e-4;

/// How advantages are computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Algorithm {
    /// With a value head and generalised advantage estimation; the KL penalty is part of the rewards.
    Ppo {
        /// Discount per token.
        gamma: f64,
        /// GAE's lambda.
        lambda: f64,
        /// How far values may move from those of the rollout.
        value_clip: f32,
        /// The value loss's factor.
        value_factor: f32,
        /// Rewards are divided by their deviation, without shifting their mean.
        whiten_rewards: bool,
        /// Advantages get mean 0 and variance 1.
        whiten_advantages: bool,
    },
    /// By comparing answers to the same prompt (Shao et al. 2024); the KL penalty is part of the loss.
    Grpo {
        /// Answers to each prompt.
        group: usize,
    },
}

impl Algorithm {
    /// lm-human-preferences' PPO.
    pub const PPO: Self = Self::Ppo {
        gamma: 1.0,
        lambda: 0.95,
        value_clip: 0.2,
        value_factor: 0.1,
        whiten_rewards: true,
        whiten_advantages: true,
    };

    /// GRPO with groups of 8.
    pub const GRPO: Self = Self::Grpo { group: 8 };

    /// The name that runs and commands use.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ppo { .. } => "ppo",
            Self::Grpo { .. } => "grpo",
        }
    }

    /// Number of answers to each prompt.
    pub fn group(&self) -> usize {
        match self {
            Self::Ppo { .. } => 1,
            Self::Grpo { group } => *group,
        }
    }
}

/// Limits at which a run that goes wrong is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest mean KL in nats per episode; 0 for none.
    pub kl: f64,
    /// Largest share of repeated word sequences in the answers, see [`super::statistics::repetition`].
    pub repetition: f64,
    /// Smallest mean length of the answers, as a share of the first batch's.
    pub length: f64,
    /// Consecutive steps over a limit after which the run is stopped.
    pub patience: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { kl: 0.0, repetition: 0.6, length: 0.2, patience: 3 }
    }
}

/// The settings of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The settings that all runs share.
    #[serde(flatten)]
    pub common: Common,
    /// PPO or GRPO.
    pub algorithm: Algorithm,
    /// Number of steps: each samples a batch and learns from it.
    pub steps: u64,
    /// Episodes per step.
    pub batch: usize,
    /// Passes over each batch.
    pub epochs: usize,
    /// Updates per pass.
    pub minibatches: usize,
    /// Micro-batches per update: less memory, the same result.
    pub accumulate: usize,
    /// Initial learning rate; falls linearly to 0.
    pub lr: f32,
    /// Policy ratios are clipped to within 1 +- this.
    pub clip: f32,
    /// Temperature of sampling and of every log-probability.
    pub temperature: f32,
    /// Maximum number of tokens in a prompt; rows are padded to it.
    pub prompt_tokens: usize,
    /// Maximum number of tokens in an answer.
    pub max_tokens: usize,
    /// Tokens that end an answer.
    pub stops: Vec<u32>,
    /// The index in an answer from which on stop tokens end it.
    pub earliest_stop: usize,
    /// The score of an answer without a stop token.
    pub missing_stop: MissingStop,
    /// Scores are clipped to within plus and minus this.
    pub reward_clip: f32,
    /// The initial coefficient of the KL penalty, and how it changes.
    pub controller: KlController,
    /// Number of samples of the reference that are used to normalise scores to mean 0 and deviation 1; 0 for no
    /// normalisation.
    pub normalise: usize,
    /// Steps between samples in the metrics; 0 for none.
    pub sample_every: u64,
    /// The limits that stop a run.
    pub limits: Limits,
    /// What the policy started from.
    pub base: String,
    /// The judge.
    pub judge: String,
    /// A hash of the prompts.
    pub prompts: String,
}

impl From<&Settings> for StepSettings {
    fn from(settings: &Settings) -> Self {
        let Settings { common: Common { optimizer, seed, checkpoint_activations, .. }, lr, steps, .. } = *settings;
        let schedule = Schedule { lr, min_lr: 0.0, warmup: 0, steps, decay: Decay::Linear };
        Self { schedule, optimizer, dropout: 0.0, seed, checkpoint_activations, precision: Precision::F32 }
    }
}

impl Settings {
    /// lm-human-preferences' recipe, with 64 episodes a step instead of 512.
    pub fn recipe(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            steps: 200,
            batch: 64,
            epochs: 4,
            minibatches: 1,
            accumulate: 1,
            lr: 1e-5,
            common: Common {
                optimizer: AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-5, weight_decay: 0.0, clip: 0.0 },
                seed: 1337,
                save_every: 10,
                keep: 1,
                checkpoint_activations: false,
            },
            clip: 0.2,
            temperature: 0.7,
            prompt_tokens: 64,
            max_tokens: 24,
            stops: Vec::new(),
            earliest_stop: 0,
            missing_stop: MissingStop::Allowed,
            reward_clip: 10.0,
            controller: KlController::ADAPTIVE,
            normalise: 256,
            sample_every: 10,
            limits: Limits::default(),
            base: String::new(),
            judge: String::new(),
            prompts: String::new(),
        }
    }

    /// The learning rate of `step`, counted from 0.
    pub fn lr_at(&self, step: u64) -> f32 {
        (f64::from(self.lr) * (1.0 - step as f64 / self.steps as f64)) as f32
    }

    /// Episodes per micro-batch.
    pub fn micro(&self) -> usize {
        self.batch / (self.minibatches * self.accumulate).max(1)
    }

    /// Rejects settings that cannot be trained with.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self, context: usize) -> Result<()> {
        let sizes = [
            ("steps", self.steps as usize),
            ("batch", self.batch),
            ("epochs", self.epochs),
            ("minibatches", self.minibatches),
            ("accumulate", self.accumulate),
            ("max_tokens", self.max_tokens),
            ("prompt_tokens", self.prompt_tokens),
            ("save_every", self.common.save_every as usize),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::setting(name, 0, "give at least 1"));
        }
        if self.prompt_tokens + self.max_tokens > context {
            let (prompt, answer) = (self.prompt_tokens, self.max_tokens);
            let reason = format!("with prompt_tokens {prompt} it is more than the model's context of {context}");
            return Err(Error::setting("max_tokens", answer, reason));
        }
        let (batch, parts, group) = (self.batch, self.minibatches * self.accumulate, self.algorithm.group());
        if batch % parts != 0 {
            let reason = format!("give a multiple of minibatches times accumulate, which is {parts}");
            return Err(Error::setting("batch", batch, reason));
        }
        if matches!(self.algorithm, Algorithm::Grpo { .. }) && (group < 2 || batch % group != 0) {
            return Err(Error::setting("group", group, "give 2 or more, and a batch that is a multiple of it"));
        }
        check_positive(&[
            ("lr", f64::from(self.lr)),
            ("clip", f64::from(self.clip)),
            ("reward_clip", f64::from(self.reward_clip)),
        ])?;
        if !(self.temperature.is_finite() && self.temperature >= COLDEST) {
            return Err(Error::setting("temperature", self.temperature, format!("give {COLDEST} or more")));
        }
        match self.controller {
            KlController::Fixed { beta } if !(beta.is_finite() && beta >= 0.0) => {
                let name = if matches!(self.algorithm, Algorithm::Ppo { .. }) { "fixed_kl" } else { "kl" };
                Err(Error::setting(name, beta, "give 0 or more"))
            }
            KlController::Fixed { .. } => Ok(()),
            KlController::Adaptive { beta, target, horizon } => {
                check_positive(&[("kl", beta), ("target_kl", target), ("horizon", horizon)])
            }
        }
    }

    /// Refuses to resume a run that was started with other settings, naming the first difference. How often a run saves
    /// and when it is stopped may change.
    ///
    /// # Errors
    /// [`Error::OtherSettings`].
    pub fn agrees_with(&self, earlier: &Self) -> Result<()> {
        let free = |settings: &Self| Self {
            common: settings.common.fixed(),
            sample_every: 1,
            limits: Limits::default(),
            ..settings.clone()
        };
        let json = |settings: &Self| serde_json::to_value(free(settings)).unwrap_or_default();
        match difference("", &json(self), &json(earlier)) {
            None => Ok(()),
            Some((name, now, then)) => Err(Error::OtherSettings { name, then: then.to_string(), now: now.to_string() }),
        }
    }
}

/// Rejects the first of some settings that is not a positive number.
fn check_positive(settings: &[(&'static str, f64)]) -> Result<()> {
    match settings.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
        Some((name, value)) => Err(Error::setting(name, value, "give a positive number")),
        None => Ok(()),
    }
}
