//! `wgpt grpo`

use clap::Args;

use super::{
    Shared,
    reinforce::{self, Recipe},
};
use wgpt::{
    Result,
    train::{ppo::settings::Algorithm, rlhf::kl::KlController},
};

/// Train a model by comparing its answers to the same prompt (GRPO), for answers that are right or wrong
#[derive(Debug, Args)]
#[command(
    after_help = "Each step samples --group answers to each of several prompts and makes those that scored above their
group's mean more likely. There is no value head. Groups with equal scores teach nothing and are left out.

The judge `exact` gives 1 to an answer whose number is right: the number after the last ####, or else the last number.

Examples:
  wgpt grpo --model model.gguf --lora-rank 16 --prompts gsm8k.jsonl --judge exact --max-tokens 256 --out runs/sums
  wgpt grpo --model runs/talker --prompts questions.jsonl --judge script:./score.py --out runs/better"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    shared: reinforce::Arguments,
    /// Answers to each prompt
    #[arg(long, default_value_t = 8)]
    group: usize,
    /// Passes over each batch
    #[arg(long, default_value_t = 1)]
    epochs: usize,
    /// Coefficient of the KL term; 0 for none
    #[arg(long, value_name = "BETA", default_value_t = 0.04)]
    kl: f64,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let algorithm = Algorithm::Grpo { group: arguments.group };
    let controller = KlController::Fixed { beta: arguments.kl };
    let recipe = Recipe { algorithm, epochs: arguments.epochs, controller, normalise: 0 };
    reinforce::run(shared, &arguments.shared, &recipe).await
}
