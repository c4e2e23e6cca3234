//! The sizes and durations of the demo's stages.

use serde::{Deserialize, Serialize};

use super::questions::Balance;

/// Number of rounds of ratings and PPO.
pub(super) const ROUNDS: usize = 3;

/// The topics of the short demo, which a small model learns in a minute or two.
const TOPICS: [&str; 12] = [
    "greeting",
    "farewell",
    "thanks",
    "how_are_you",
    "identity",
    "comfort",
    "congratulate",
    "refusal",
    "capital",
    "opposite",
    "superlative",
    "colours",
];

/// Sizes, steps and rates of all stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recipe {
    /// Number of languages: English, then Chinese.
    pub languages: usize,
    /// The topics, all if none; and the most entries of each, and facts of each entry, all if none.
    pub topics: Vec<String>,
    pub facts: Option<usize>,
    pub balance: Balance,
    /// Number of conversations for fine-tuning, the most questions in one, and the share of poor answers.
    pub conversations: usize,
    pub turns: usize,
    pub poor: f64,
    /// Number of questions for PPO, and of those whose answers are rated in each round.
    pub prompts: usize,
    pub rated: usize,
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
    /// Answers per step, passes over them, and number of steps in each round.
    pub ppo_batch: usize,
    pub ppo_epochs: usize,
    pub ppo_steps: [u64; ROUNDS],
    pub ppo_lr: [f32; ROUNDS],
    /// Initial coefficient of the KL penalty.
    pub beta: f64,
    /// Target KL in nats per answer.
    pub target_kl: f64,
    /// Maximum number of tokens in a prompt, and in an answer.
    pub prompt_tokens: usize,
    pub max_tokens: usize,
    /// Sampling temperature everywhere.
    pub temperature: f32,
    /// Number of held-out questions that are asked after each stage, and how many of them are shown.
    pub asked: usize,
    pub shown: usize,
}

impl Recipe {
    /// Eight minutes on two cores without a GPU; cut down where it would take longer.
    pub fn short() -> Self {
        Self {
            languages: 1,
            topics: TOPICS.map(String::from).to_vec(),
            facts: Some(4),
            balance: Balance::Entries,
            conversations: 28_000,
            turns: 1,
            poor: 0.4,
            prompts: 3072,
            rated: 1024,
            vocabulary: 1024,
            layers: 2,
            heads: 4,
            width: 128,
            context: 96,
            // At the same number of tokens, small steps teach much more than large ones (docs/talker.md).
            batch: 2,
            pretrain_steps: 150,
            pretrain_lr: 1.5e-3,
            sft_epochs: 1,
            sft_lr: 1.2e-3,
            dropout: 0.0,
            reward_batch: 16,
            reward_epochs: 2,
            reward_lr: 8e-4,
            ppo_batch: 96,
            ppo_epochs: 4,
            ppo_steps: [4, 8, 12],
            ppo_lr: [2e-4; ROUNDS],
            beta: 0.1,
            target_kl: 6.0,
            prompt_tokens: 40,
            max_tokens: 32,
            temperature: 0.8,
            asked: 768,
            shown: 6,
        }
    }

    /// The same with a share of the steps.
    pub fn cut(&self, share: f64) -> Self {
        let cut = |steps: u64| ((steps as f64 * share).round() as u64).max(1);
        Self {
            pretrain_steps: cut(self.pretrain_steps),
            conversations: cut(self.conversations as u64) as usize,
            ppo_steps: self.ppo_steps.map(cut),
            ..self.clone()
        }
    }

    /// Whether only the numbers of steps differ from those of `whole`.
    pub fn is_cut_from(&self, whole: &Self) -> bool {
        let Self { pretrain_steps, conversations, ppo_steps, .. } = *self;
        *self == Self { pretrain_steps, conversations, ppo_steps, ..whole.clone() }
    }

    /// Takes seconds and learns nothing, for tests.
    pub fn smallest() -> Self {
        Self {
            conversations: 40,
            prompts: 12,
            rated: 4,
            vocabulary: 300,
            layers: 1,
            heads: 2,
            width: 16,
            context: 160,
            pretrain_steps: 2,
            ppo_batch: 4,
            ppo_steps: [1; ROUNDS],
            prompt_tokens: 80,
            max_tokens: 64,
            asked: 4,
            shown: 2,
            ..Self::short()
        }
    }

    /// A larger model that learns all topics in both languages: about an hour on two cores without a GPU.
    pub fn long() -> Self {
        Self {
            languages: 2,
            topics: Vec::new(),
            facts: None,
            balance: Balance::Topics,
            conversations: 100_000,
            turns: 3,
            poor: 0.1,
            vocabulary: 4096,
            layers: 4,
            heads: 6,
            width: 192,
            context: 256,
            pretrain_steps: 100,
            pretrain_lr: 1e-3,
            sft_lr: 8e-4,
            reward_lr: 6e-4,
            ppo_steps: [6, 10, 14],
            ppo_lr: [1e-4; ROUNDS],
            max_tokens: 48,
            prompt_tokens: 48,
            ..Self::short()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_cut_down_is_the_same_demo() {
        let cut = Recipe::short().cut(0.5);
        assert_eq!((cut.pretrain_steps, cut.conversations, cut.ppo_steps), (75, 14_000, [2, 4, 6]));
        assert!(cut.is_cut_from(&Recipe::short()) && !cut.is_cut_from(&Recipe::long()));
        assert_eq!(Recipe::smallest().cut(0.1).ppo_steps, [1; ROUNDS]);
    }
}
