//! The option that says how a training stores weights and activations.

use clap::{Args, ValueEnum};

use super::Shared;
use wgpt::{
    gpu::Gpu,
    train::settings::{Precision, Settings},
};

/// Full or mixed precision.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct PrecisionArgument {
    /// How activations and the weights that they meet are stored; f16 has f32 master weights and a scaled loss
    #[arg(long, value_enum, default_value = "f32")]
    precision: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Value {
    F32,
    F16,
}

impl PrecisionArgument {
    /// What was asked for.
    pub fn wanted(self) -> Precision {
        match self.precision {
            Value::F32 => Precision::F32,
            Value::F16 => Precision::F16,
        }
    }
}

/// `settings` as this adapter can train them, said where that is not as asked for.
pub(super) fn on_adapter(shared: &Shared, gpu: &Gpu, settings: Settings) -> Settings {
    settings.on_adapter(gpu.capabilities().f16, || {
        shared.say(format_args!("{} has no f16: training in f32", gpu.description()));
    })
}
