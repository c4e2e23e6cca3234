//! The settings of a training run. They are saved with every checkpoint, and a resumed run must agree with them.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    model::{Config, lora::LoraConfig},
    optim::{AdamW, Decay, Schedule},
    train::{reward::Recipe, trainer::StepSettings},
};

/// How weights and activations are stored during training. Master weights, sums, residual stream and moments are f32 in
/// both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Copies of the weights, and activations between the layers, in f16, with a scaled loss.
    F16,
}

impl Precision {
    fn is_single(&self) -> bool {
        *self == Self::F32
    }
}

/// The settings that supervised and reinforcement runs share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Common {
    /// The optimizer.
    pub optimizer: AdamW,
    /// Seed of everything random: weights, batches, masks, samples.
    pub seed: u64,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// Checkpoints kept.
    pub keep: usize,
    /// Recompute blocks in the backward pass instead of keeping their activations.
    pub checkpoint_activations: bool,
}

impl Common {
    /// These settings, with the same values in all fields that a resumed run may change.
    pub(super) fn fixed(self) -> Self {
        Self { save_every: 1, keep: 1, checkpoint_activations: false, ..self }
    }
}

/// The settings that only one of the supervised stages has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StageSettings {
    /// DPO.
    Dpo {
        /// How strongly DPO stays close to the reference.
        beta: f32,
    },
    /// A reward model.
    Reward {
        /// What it learns from preferences.
        reward: Recipe,
    },
    /// Pretraining and fine-tuning have none.
    NextToken {},
}

/// The settings of a supervised run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The model's shape.
    pub config: Config,
    /// The settings that all runs share.
    #[serde(flatten)]
    pub common: Common,
    /// Windows per micro-batch.
    pub batch: usize,
    /// Micro-batches per step.
    pub accumulate: usize,
    /// Tokens per window.
    pub context: usize,
    /// The learning-rate schedule.
    pub schedule: Schedule,
    /// Probability of dropping an activation.
    pub dropout: f32,
    /// Share of the text that is held out.
    pub val_fraction: f64,
    /// Batches per validation.
    pub val_batches: usize,
    /// Steps between validations.
    pub val_every: u64,
    /// Tokens per sample written at each validation; 0 for none.
    pub sample_tokens: usize,
    /// How weights and activations are stored.
    #[serde(default, skip_serializing_if = "Precision::is_single")]
    pub precision: Precision,
    /// A hash of the conversations or preferences of a fine-tuning run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The adapters to train; without them, the whole model is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The settings that only this stage has.
    #[serde(flatten)]
    pub stage: StageSettings,
}

impl From<&Settings> for StepSettings {
    fn from(settings: &Settings) -> Self {
        let Settings { schedule, dropout, precision, common, .. } = *settings;
        let Common { optimizer, seed, checkpoint_activations, .. } = common;
        Self { schedule, optimizer, dropout, seed, checkpoint_activations, precision }
    }
}

impl Settings {
    /// nanoGPT's recipe for small models: 2000 steps of 12 windows, learning rate 1e-3 to 1e-4 after 100 steps of
    /// warm-up, AdamW with betas 0.9 and 0.99, weight decay 0.1, clipping at 1, no dropout.
    pub fn recipe(config: Config) -> Self {
        Self {
            batch: 12,
            accumulate: 1,
            context: config.context,
            schedule: Schedule { lr: 1e-3, min_lr: 1e-4, warmup: 100, steps: 2000, decay: Decay::Cosine },
            common: Common {
                optimizer: AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 },
                seed: 1337,
                save_every: 250,
                keep: 1,
                checkpoint_activations: false,
            },
            dropout: 0.0,
            val_fraction: 0.1,
            val_batches: 200,
            val_every: 500,
            sample_tokens: 160,
            precision: Precision::F32,
            data: None,
            lora: None,
            stage: StageSettings::NextToken {},
            config,
        }
    }

    /// Fine-tuning a model on conversations: 8 rows a step, learning rate 5e-5 (2e-4 with adapters) to a tenth of that, AdamW
    /// with betas 0.9 and 0.999, no weight decay, clipping at 1.
    pub fn fine_tuning(config: Config, lora: Option<LoraConfig>) -> Self {
        let lr = if lora.is_some() { 2e-4 } else { 5e-5 };
        let recipe = Self::recipe(config);
        let optimizer = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, clip: 1.0 };
        Self {
            common: Common { optimizer, ..recipe.common },
            batch: 8,
            schedule: Schedule { lr, min_lr: lr / 10.0, warmup: 100, steps: 1, decay: Decay::Cosine },
            context: recipe.config.context.min(1024),
            val_fraction: 0.05,
            lora,
            ..recipe
        }
    }

    /// DPO on preferences (Rafailov et al. 2023): 8 pairs a step, beta 0.1, learning rate 1e-6 to a tenth of that, or 2e-5
    /// with adapters, the rest as in [`Settings::fine_tuning`].
    pub fn dpo(config: Config, lora: Option<LoraConfig>) -> Self {
        let lr = if lora.is_some() { 2e-5 } else { 1e-6 };
        let recipe = Self::fine_tuning(config, lora);
        let schedule = Schedule { lr, min_lr: lr / 10.0, ..recipe.schedule };
        Self { schedule, stage: StageSettings::Dpo { beta: 0.1 }, val_fraction: 0.1, ..recipe }
    }

    /// A reward model on human preferences: one epoch of 32 comparisons a step, learning rate 5e-5 down to 0 in a
    /// straight line, AdamW as for fine-tuning (Ouyang et al. 2022, Ziegler et al. 2019). Here `batch` counts
    /// comparisons, and `context` is determined by the longest text.
    pub fn reward(config: Config, recipe: Recipe) -> Self {
        Self {
            batch: 32,
            schedule: Schedule { lr: 5e-5, min_lr: 0.0, warmup: 0, steps: 1, decay: Decay::Linear },
            sample_tokens: 0,
            stage: StageSettings::Reward { reward: recipe },
            ..Self::fine_tuning(config, None)
        }
    }

    /// The settings for an adapter with or without f16: without it, falls back to f32 and calls `say`.
    #[must_use]
    pub fn on_adapter(self, has_f16: bool, say: impl FnOnce()) -> Self {
        if self.precision == Precision::F16 && !has_f16 {
            say();
            return Self { precision: Precision::F32, ..self };
        }
        self
    }

    /// Rejects settings that cannot be trained with.
    ///
    /// # Errors
    /// [`Error::Setting`]; [`Error::Config`] for an impossible model.
    pub fn validate(&self) -> Result<()> {
        self.config.validate()?;
        let sizes = [
            ("batch", self.batch),
            ("accumulate", self.accumulate),
            ("context", self.context),
            ("val_batches", self.val_batches),
            ("val_every", self.val_every as usize),
            ("save_every", self.common.save_every as usize),
            ("steps", self.schedule.steps as usize),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::setting(name, 0, "give at least 1"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::setting("dropout", self.dropout, "give 0 or more and less than 1"));
        }
        if let StageSettings::Dpo { beta } = self.stage
            && !(beta.is_finite() && beta > 0.0)
        {
            return Err(Error::setting("beta", beta, "give a positive number"));
        }
        if let Some(lora) = &self.lora {
            lora.validate(&self.config)?;
            if self.precision == Precision::F16 {
                let reason = "adapters are trained in f32; leave it or the adapters out";
                return Err(Error::setting("precision", "f16", reason));
            }
        }
        if !(self.schedule.lr.is_finite() && self.schedule.lr > 0.0) {
            return Err(Error::setting("lr", self.schedule.lr, "give a positive number"));
        }
        Ok(())
    }

    /// Number of tokens that one step learns from.
    pub fn tokens_per_step(&self) -> usize {
        self.batch * self.accumulate * self.context
    }

    /// Refuses to resume a run that was started with other settings, naming the first difference. How often a run
    /// reports, validates and saves may change. A run cannot be made longer than its schedule, which includes the
    /// number of steps.
    ///
    /// # Errors
    /// [`Error::OtherSettings`].
    pub fn agrees_with(&self, earlier: &Self) -> Result<()> {
        let free = |settings: &Self| Self {
            common: settings.common.fixed(),
            val_every: 1,
            sample_tokens: 0,
            ..settings.clone()
        };
        let json = |settings: &Self| serde_json::to_value(free(settings)).unwrap_or_default();
        let (now, then) = (json(self), json(earlier));
        match difference("", &now, &then) {
            None => Ok(()),
            Some((name, now, then)) => Err(Error::OtherSettings { name, then: then.to_string(), now: now.to_string() }),
        }
    }
}

pub(super) type Difference = (String, serde_json::Value, serde_json::Value);

/// The first leaf at which two JSON objects differ.
pub(super) fn difference(path: &str, now: &serde_json::Value, then: &serde_json::Value) -> Option<Difference> {
    if let (Some(fields), Some(_)) = (now.as_object(), then.as_object()) {
        let name = |field: &str| if path.is_empty() { field.to_string() } else { format!("{path}.{field}") };
        let known = fields.keys().chain(then.as_object().into_iter().flat_map(|fields| fields.keys()));
        return known.into_iter().find_map(|field| difference(&name(field), &now[field], &then[field]));
    }
    (now != then).then(|| (path.to_string(), now.clone(), then.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::train::reward::Objective;

    /// Settings in the form of earlier checkpoints: all in one object.
    fn earlier(own: Value) -> Value {
        let mut settings = json!({
            "accumulate": 2, "batch": 12, "checkpoint_activations": true, "context": 64, "dropout": 0.5, "keep": 3,
            "config": Config::gpt2(73, 64, 4, 4, 128),
            "optimizer": { "beta1": 0.5, "beta2": 0.75, "clip": 1.0, "epsilon": 0.0, "weight_decay": 0.125 },
            "sample_tokens": 160, "save_every": 6, "seed": 1337, "val_batches": 4, "val_every": 6, "val_fraction": 0.1,
            "schedule": { "decay": "cosine", "lr": 0.5, "min_lr": 0.25, "steps": 12, "warmup": 1 },
        });
        let own = own.as_object().cloned().unwrap_or_default();
        settings.as_object_mut().into_iter().for_each(|settings| settings.extend(own.clone()));
        settings
    }

    #[test]
    fn earlier_settings_are_read_and_written_as_they_were() {
        let recipe = Recipe { margin: 0.5, ..Recipe::new(Objective::Pairs) };
        let stages = [
            (json!({}), StageSettings::NextToken {}),
            (json!({ "beta": 0.25, "data": "00ff" }), StageSettings::Dpo { beta: 0.25 }),
            (json!({ "reward": recipe }), StageSettings::Reward { reward: recipe }),
        ];
        for (own, stage) in stages {
            let then = earlier(own);
            let settings: Settings =
                serde_json::from_value(then.clone()).expect("the settings of an earlier checkpoint");
            assert_eq!(settings.stage, stage);
            assert_eq!((settings.common.seed, settings.common.optimizer.beta2, settings.common.keep), (1337, 0.75, 3));
            assert_eq!(serde_json::to_value(&settings).expect("JSON"), then);
        }
    }

    #[test]
    fn what_a_resumed_run_may_not_change_is_named() {
        let settings: Settings = serde_json::from_value(earlier(json!({}))).expect("settings");
        let common = Common { save_every: 1, keep: 9, checkpoint_activations: false, ..settings.common };
        settings.agrees_with(&Settings { common, val_every: 2, ..settings.clone() }).expect("these may change");
        let common = Common { seed: 1, ..settings.common };
        let refused = Settings { common, ..settings.clone() }.agrees_with(&settings).expect_err("another seed");
        assert!(matches!(&refused, Error::OtherSettings { name, .. } if name == "seed"), "{refused}");
    }
}
