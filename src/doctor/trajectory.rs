//! Checks twenty training steps with known losses, computed by an independent program
//! (scripts/fixtures/make_trajectory.py). An error in forward or backward kernels, accumulation, clipping, schedule
//! or optimizer shows in them.

use serde::Serialize;

use crate::{
    Result,
    gpu::Gpu,
    model::{Config, Gpt, parameters::ParameterSpec},
    optim::{Decay, Schedule},
    random,
    text::batches::Batch,
    train::{
        Settings,
        settings::{Common, Precision},
        trainer::{Outcome, Trainer},
    },
};

/// Number of steps.
pub const STEPS: usize = 20;

/// Windows per micro-batch, micro-batches per step, tokens per window; distinct tokens, and the seed of everything.
const ROWS: usize = 4;
const MICRO: usize = 2;
const CONTEXT: usize = 32;
const VOCABULARY: usize = 61;
const SEED: u64 = 20;

/// The random stream of the texts.
const TEXTS: u64 = u64::from_le_bytes(*b"texts of");

/// The maximum error of a loss.
const SINGLE: f32 = 1e-3;
const HALF: f32 = 5e-3;

/// A model with its known losses.
struct Known {
    name: &'static str,
    llama: bool,
    losses: [f32; STEPS],
}

/// The losses were computed in f64.
static KNOWN: &[Known] = &[
    Known {
        name: "GPT-2",
        llama: false,
        losses: [
            4.8485, 4.665065, 4.604125, 4.533022, 4.316943, 4.271957, 4.198506, 4.222762, 4.207075, 4.098005, 4.067615,
            4.070682, 4.023231, 4.016623, 3.998279, 3.96271, 4.000007, 4.000387, 3.927361, 3.979523,
        ],
    },
    Known {
        name: "Llama",
        llama: true,
        losses: [
            4.796124, 4.692995, 4.82714, 4.735757, 4.762409, 4.500402, 4.536261, 4.384756, 4.449792, 4.30122, 4.251484,
            4.106825, 3.958686, 4.125662, 4.143079, 4.040598, 4.021732, 3.954646, 4.009007, 3.987447,
        ],
    },
];

/// A training run compared with the known losses.
#[derive(Clone, Debug, Serialize)]
pub struct Trajectory {
    /// The model's family.
    pub model: &'static str,
    /// How activations and the weight copies are stored.
    pub precision: Precision,
    /// The loss of each step.
    pub losses: Vec<f32>,
    /// The known losses.
    pub expected: &'static [f32],
    /// The largest difference; NaN if a loss is NaN.
    pub worst: f32,
    /// The largest difference that passes.
    pub most: f32,
    /// Whether every loss is close enough.
    pub pass: bool,
}

impl Known {
    fn settings(&self, precision: Precision) -> Settings {
        let config = match self.llama {
            false => Config::gpt2(VOCABULARY, CONTEXT, 2, 4, 64),
            true => Config { kv_heads: 2, hidden: 88, ..Config::llama(VOCABULARY, CONTEXT, 2, 4, 64) },
        };
        let recipe = Settings::recipe(config);
        Settings {
            // One of the two models uses activation checkpointing.
            common: Common { checkpoint_activations: self.llama, ..recipe.common },
            batch: ROWS,
            accumulate: MICRO,
            schedule: Schedule { lr: 3e-3, min_lr: 3e-4, warmup: 4, steps: STEPS as u64, decay: Decay::Cosine },
            precision,
            ..recipe
        }
    }

    async fn follow(&'static self, gpu: &Gpu, precision: Precision) -> Result<Trajectory> {
        let settings = self.settings(precision);
        let mut stream = 0;
        let model = Gpt::build(gpu, &settings.config, |spec| {
            stream += 1;
            Ok(weights(spec, stream))
        })?;
        let mut trainer = Trainer::new(gpu, model, &settings)?;
        let mut losses = Vec::with_capacity(STEPS);
        for step in 0..STEPS {
            let batches: Vec<_> = (0..MICRO).map(|micro| batch(step * MICRO + micro)).collect();
            let outcome: Outcome = trainer.step(&batches)?.outcome().await?;
            trainer.observe(step as u64, &outcome)?;
            losses.push(outcome.loss);
        }
        // `f32::max` would skip NaN.
        let off = losses.iter().zip(&self.losses).map(|(loss, expected)| (loss - expected).abs());
        let worst = off.fold(0.0, |worst: f32, off| if off <= worst || worst.is_nan() { worst } else { off });
        let most = if precision == Precision::F16 { HALF } else { SINGLE };
        Ok(Trajectory { model: self.name, precision, losses, expected: &self.losses, worst, most, pass: worst <= most })
    }
}

/// The initial values of a parameter: uniform within 0.25 of 0, or of 1 for the weight of a norm.
fn weights(spec: &ParameterSpec, stream: u64) -> Vec<f32> {
    let middle = if spec.name.contains("norm") && spec.name.ends_with("weight") { 1.0 } else { 0.0 };
    let elements: usize = spec.shape.iter().product();
    let value = |i| (middle + 0.25 * (2.0 * random::uniform(SEED, stream, i) - 1.0)) as f32;
    (0..elements as u64).map(value).collect()
}

/// Windows that can be learned: each token is one of three that the token before it allows.
fn batch(number: usize) -> Batch {
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for row in 0..ROWS {
        let text = (number * ROWS + row) as u64;
        let draw = |i: u64, n: usize| random::below(SEED, TEXTS, text << 32 | i, n as u64) as u32;
        let mut token = draw(0, VOCABULARY);
        for i in 1..=CONTEXT as u64 {
            inputs.push(token);
            token = (5 * token + 1 + draw(i, 3)) % VOCABULARY as u32;
            targets.push(token);
        }
    }
    Batch { inputs, targets, starts: None, rows: ROWS, context: CONTEXT }
}

/// Runs every known training, and again in mixed precision if the adapter has f16.
///
/// # Errors
/// Returns the driver's errors. Wrong losses are not an error here.
pub async fn follow(gpu: &Gpu) -> Result<Vec<Trajectory>> {
    let half = gpu.capabilities().f16.then_some(Precision::F16);
    let mut found = Vec::new();
    for known in KNOWN {
        for precision in [Some(Precision::F32), half].into_iter().flatten() {
            found.push(known.follow(gpu, precision).await?);
        }
    }
    Ok(found)
}
