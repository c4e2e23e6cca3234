//! The sizes and durations of the demo's stages.

use serde::{Deserialize, Serialize};

/// Sizes, steps and rates of all stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recipe {
    /// Number of prompts, each with a good and a poor answer.
    pub prompts: usize,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    pub layers: usize,
    pub heads: usize,
    pub width: usize,
    /// Tokens in the model's context.
    pub context: usize,
    /// Rows per step of pretraining and fine-tuning.
    pub batch: usize,
    pub pretrain_steps: u64,
    pub pretrain_lr: f32,
    /// Passes over the conversations.
    pub sft_epochs: usize,
    pub sft_lr: f32,
    pub dropout: f32,
    /// Comparisons per step, and passes over them.
    pub reward_batch: usize,
    pub reward_epochs: usize,
    pub reward_lr: f32,
    /// Answers per step, and number of steps in both rounds.
    pub ppo_batch: usize,
    pub ppo_steps: [u64; 2],
    pub ppo_lr: [f32; 2],
    /// Initial coefficient of the KL penalty.
    pub beta: f64,
    /// Target KL in nats per answer.
    pub target_kl: f64,
    /// Maximum number of tokens in a prompt, and in an answer.
    pub prompt_tokens: usize,
    pub max_tokens: usize,
    /// Sampling temperature everywhere.
    pub temperature: f32,
    /// Number of prompts that are answered after each stage, and how many of them are shown.
    pub asked: usize,
    pub shown: usize,
}

impl Recipe {
    /// Three to five minutes on two cores without a GPU; cut down where it would take longer.
    pub fn short() -> Self {
        Self {
            prompts: 64,
            vocabulary: 1024,
            layers: 4,
            heads: 4,
            width: 128,
            context: 96,
            batch: 8,
            pretrain_steps: 200,
            pretrain_lr: 3e-3,
            sft_epochs: 44,
            sft_lr: 3e-3,
            dropout: 0.0,
            reward_batch: 16,
            reward_epochs: 3,
            reward_lr: 5e-4,
            ppo_batch: 48,
            ppo_steps: [24, 16],
            ppo_lr: [3e-4, 1e-4],
            beta: 0.2,
            target_kl: 6.0,
            prompt_tokens: 32,
            max_tokens: 24,
            temperature: 0.8,
            asked: 64,
            shown: 6,
        }
    }

    /// The same with a share of the steps.
    pub fn cut(&self, share: f64) -> Self {
        let cut = |steps: u64| ((steps as f64 * share).round() as u64).max(1);
        Self {
            pretrain_steps: cut(self.pretrain_steps),
            sft_epochs: cut(self.sft_epochs as u64) as usize,
            ppo_steps: self.ppo_steps.map(cut),
            ..self.clone()
        }
    }

    /// Whether only the numbers of steps differ from those of `whole`.
    pub fn is_cut_from(&self, whole: &Self) -> bool {
        let Self { pretrain_steps, sft_epochs, ppo_steps, .. } = *self;
        *self == Self { pretrain_steps, sft_epochs, ppo_steps, ..whole.clone() }
    }

    /// Takes seconds and learns nothing, for tests.
    pub fn smallest() -> Self {
        Self {
            prompts: 12,
            vocabulary: 300,
            layers: 1,
            heads: 2,
            width: 16,
            context: 128,
            batch: 2,
            pretrain_steps: 2,
            sft_epochs: 1,
            ppo_batch: 4,
            ppo_steps: [1, 1],
            reward_epochs: 1,
            prompt_tokens: 80,
            max_tokens: 48,
            asked: 4,
            shown: 2,
            ..Self::short()
        }
    }

    /// The recipe of the model in `weights/`: about fifteen minutes on two cores without a GPU.
    pub fn long() -> Self {
        Self {
            prompts: 1000,
            heads: 5,
            width: 160,
            pretrain_steps: 600,
            pretrain_lr: 2e-3,
            sft_epochs: 50,
            sft_lr: 2e-3,
            ppo_batch: 64,
            ppo_steps: [50, 30],
            ..Self::short()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Recipe;

    #[test]
    fn a_demo_cut_down_is_the_same_demo() {
        let cut = Recipe::short().cut(0.3);
        assert_eq!((cut.pretrain_steps, cut.sft_epochs, cut.ppo_steps), (60, 13, [7, 5]));
        assert!(cut.is_cut_from(&Recipe::short()) && !cut.is_cut_from(&Recipe::long()));
        assert_eq!(Recipe::smallest().cut(0.1).ppo_steps, [1, 1]);
    }
}
