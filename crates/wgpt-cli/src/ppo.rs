//! `wgpt ppo`

use clap::Args;

use super::{
    Shared,
    reinforce::{self, Recipe},
};
use wgpt::{
    Result,
    train::{ppo::settings::Algorithm, rlhf::kl::KlController},
};

/// Train a model by reinforcement: answers that a judge scores higher become more likely (PPO)
#[derive(Debug, Args)]
#[command(
    after_help = "Each step samples an answer to each of --batch prompts, has them scored, and makes answers that turned
out better than expected more likely, while staying close to the initial model: the KL is the distance, in nats.

Prompts are lines of {\"prompt\": \"...\"}, {\"messages\": [...]} or {\"question\": \"...\", \"answer\": \"...\"}, or a text.
A script judge reads a line {\"prompt\", \"answer\", \"expected\"} per answer and writes a number per line.
With --lora-rank the reference is the model without its adapters, so the weights are in memory only once.
A run stops by itself if numbers are not finite, the KL explodes, answers repeat themselves or become empty, or the
scores of --gold fall while those of --judge rise.

Examples:
  wgpt ppo --model runs/shakespeare --prompts shakespeare.txt --judge lexicon --out runs/happy
  wgpt ppo --model model.gguf --lora-rank 8 --prompts questions.jsonl --judge script:./score.py --out runs/polite
  wgpt ppo --model runs/talker --prompts questions.jsonl --judge reward:runs/judge --out runs/better
  wgpt ppo --model runs/shakespeare --prompts shakespeare.txt --judge lexicon --out runs/happy --resume
  wgpt report runs/happy"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    shared: reinforce::Arguments,
    /// Passes over each batch
    #[arg(long, default_value_t = 4)]
    epochs: usize,
    /// Target KL in nats per answer, to which the penalty's coefficient is adapted
    #[arg(long, default_value_t = 6.0)]
    target_kl: f64,
    /// Initial coefficient of the KL penalty
    #[arg(long, value_name = "BETA", default_value_t = 0.15)]
    kl: f64,
    /// Number of episodes over which the coefficient may change by its relative error
    #[arg(long, default_value_t = 10_000.0)]
    horizon: f64,
    /// Constant coefficient, instead of --target-kl
    #[arg(long, value_name = "BETA", conflicts_with_all = ["target_kl", "kl", "horizon"])]
    fixed_kl: Option<f64>,
    /// Discount per token
    #[arg(long, default_value_t = 1.0)]
    gamma: f64,
    /// Lambda of generalised advantage estimation
    #[arg(long, default_value_t = 0.95)]
    lambda: f64,
    /// Clip range of the value function
    #[arg(long, default_value_t = 0.2)]
    value_clip: f32,
    /// Coefficient of the value loss
    #[arg(long, default_value_t = 0.1)]
    value_factor: f32,
    /// Do not normalise rewards
    #[arg(long)]
    no_whiten_rewards: bool,
    /// Do not normalise advantages
    #[arg(long)]
    no_whiten_advantages: bool,
    /// Initial samples of the model, over which scores are normalised to mean 0 and standard deviation 1
    #[arg(long, value_name = "SAMPLES", default_value_t = 256)]
    normalise: usize,
    /// Do not normalise the judge's scores
    #[arg(long, conflicts_with = "normalise")]
    no_normalise: bool,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let controller = match arguments.fixed_kl {
        Some(beta) => KlController::Fixed { beta },
        None => KlController::Adaptive { beta: arguments.kl, target: arguments.target_kl, horizon: arguments.horizon },
    };
    let algorithm = Algorithm::Ppo {
        gamma: arguments.gamma,
        lambda: arguments.lambda,
        value_clip: arguments.value_clip,
        value_factor: arguments.value_factor,
        whiten_rewards: !arguments.no_whiten_rewards,
        whiten_advantages: !arguments.no_whiten_advantages,
    };
    let normalise = if arguments.no_normalise { 0 } else { arguments.normalise };
    let recipe = Recipe { algorithm, epochs: arguments.epochs, controller, normalise };
    reinforce::run(shared, &arguments.shared, &recipe).await
}
