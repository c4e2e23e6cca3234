//! The options of training from scratch, shared by `wgpt pretrain` and `wgpt plan`.

use clap::{Args, ValueEnum};

use super::options::PrecisionArgument;
use wgpt::{
    model::{Config, config::Positions},
    optim::{AdamW, Schedule},
    train::{Settings, settings::Common},
};

/// The sizes of a model and its training settings.
#[derive(Debug, Args)]
pub(super) struct Recipe {
    /// A known recipe, which other options modify
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// Family of the model
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Transformer blocks
    #[arg(long)]
    layers: Option<usize>,
    /// Attention heads
    #[arg(long)]
    heads: Option<usize>,
    /// Key and value heads [default: as many as heads]
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Width of the residual stream
    #[arg(long)]
    width: Option<usize>,
    /// Tokens per window
    #[arg(long)]
    context: Option<usize>,
    /// Kind of position information [default: the family's]
    #[arg(long, value_enum)]
    positions: Option<PositionArgument>,
    /// Biases in linear layers and norms
    #[arg(long)]
    bias: Option<bool>,
    /// Share the embedding's weight with the head [default: the family's]
    #[arg(long)]
    tied: Option<bool>,
    /// Windows per micro-batch
    #[arg(long)]
    batch: Option<usize>,
    /// Micro-batches per step
    #[arg(long, default_value_t = 1)]
    accumulate: usize,
    /// Steps
    #[arg(long)]
    steps: Option<u64>,
    /// Highest learning rate
    #[arg(long)]
    lr: Option<f32>,
    /// Final learning rate [default: a tenth of --lr]
    #[arg(long)]
    min_lr: Option<f32>,
    /// Steps of warm-up
    #[arg(long)]
    warmup: Option<u64>,
    /// Decay of AdamW's second moment
    #[arg(long, default_value_t = 0.99)]
    beta2: f32,
    /// Weight decay
    #[arg(long, default_value_t = 0.1)]
    weight_decay: f32,
    /// Largest gradient norm; 0 for no limit
    #[arg(long, default_value_t = 1.0)]
    clip: f32,
    /// Probability of dropping an activation
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Seed of weights, batches and masks
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    /// Share of the text to hold out, from its end
    #[arg(long, default_value_t = 0.1)]
    val_fraction: f64,
    /// Batches per validation
    #[arg(long, default_value_t = 200)]
    val_batches: usize,
    /// Steps between validations [default: a quarter of the steps]
    #[arg(long)]
    val_every: Option<u64>,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 250)]
    save_every: u64,
    /// Checkpoints kept
    #[arg(long, default_value_t = 1)]
    keep: usize,
    /// Recompute blocks in the backward pass: less memory, more time
    #[arg(long)]
    checkpoint_activations: bool,
    /// Tokens per sample at each validation; 0 for none
    #[arg(long, default_value_t = 160)]
    sample_tokens: usize,
    #[command(flatten)]
    precision: PrecisionArgument,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// nanoGPT's CPU setting: 4 layers, 4 heads, width 128, context 64, batch 12, 2000 steps
    NanoChar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    /// Learned positions, LayerNorm, GELU
    Gpt2,
    /// Rotary positions, RMSNorm, SwiGLU
    Llama,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PositionArgument {
    Learned,
    Sinusoidal,
    Rotary,
}

impl Recipe {
    /// The settings of the preset (nano-char by default) with the user's changes.
    pub fn settings(&self, vocabulary: usize) -> Settings {
        let (context, heads) = (self.context.unwrap_or(64), self.heads.unwrap_or(4));
        let (layers, width) = (self.layers.unwrap_or(4), self.width.unwrap_or(128));
        let mut config = match self.family.unwrap_or(Family::Gpt2) {
            Family::Gpt2 => Config { bias: false, ..Config::gpt2(vocabulary, context, layers, heads, width) },
            Family::Llama => Config::llama(vocabulary, context, layers, heads, width),
        };
        config.kv_heads = self.kv_heads.unwrap_or(heads);
        config.bias = self.bias.unwrap_or(config.bias);
        config.tied = self.tied.unwrap_or(config.tied);
        config.positions = match self.positions {
            None => config.positions,
            Some(PositionArgument::Learned) => Positions::Learned,
            Some(PositionArgument::Sinusoidal) => Positions::Sinusoidal,
            Some(PositionArgument::Rotary) => Positions::Rotary,
        };
        let recipe = Settings::recipe(config);
        let (lr, steps) = (self.lr.unwrap_or(recipe.schedule.lr), self.steps.unwrap_or(recipe.schedule.steps));
        let schedule = recipe.schedule.rescaled(lr, steps);
        Settings {
            batch: self.batch.unwrap_or(recipe.batch),
            accumulate: self.accumulate,
            schedule: Schedule {
                min_lr: self.min_lr.unwrap_or(schedule.min_lr),
                warmup: self.warmup.unwrap_or(schedule.warmup),
                ..schedule
            },
            common: Common {
                optimizer: AdamW {
                    beta2: self.beta2,
                    weight_decay: self.weight_decay,
                    clip: self.clip,
                    ..recipe.common.optimizer
                },
                seed: self.seed,
                save_every: self.save_every,
                keep: self.keep,
                checkpoint_activations: self.checkpoint_activations,
            },
            dropout: self.dropout,
            val_fraction: self.val_fraction,
            val_batches: self.val_batches,
            val_every: self.val_every.unwrap_or_else(|| steps.div_ceil(4).max(1)),
            sample_tokens: self.sample_tokens,
            precision: self.precision.wanted(),
            ..recipe
        }
    }
}
