//! The options that choose tokens, and how a model for them is loaded.

use std::path::Path;

use clap::Args;

use super::{Shared, terminal};
use wgpt::{
    Error, Result,
    formats::{Format, quantise},
    gpu::Gpu,
    infer::sampler::Sampling,
    interchange::{TextCodec, load},
    model::{Gpt, build::Storage},
    ops::kv::decode::Precision,
};

/// How to choose the next token.
#[derive(Clone, Debug, Args)]
pub(crate) struct SamplingArguments {
    /// 0 takes the best token; higher is wilder
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,
    /// Choose among this many best tokens; 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Choose among the best tokens with this much probability
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Choose among tokens at least this probable, relative to the best
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Make the tokens of the last 64 less likely; 1 for no penalty
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl SamplingArguments {
    /// The seed of the draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The settings, checked.
    pub fn sampling(&self) -> Result<Sampling> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
        };
        sampling.validate()?;
        Ok(sampling)
    }
}

/// How a model is kept in GPU memory.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LoadArguments {
    /// Keep matrices as F32, F16, BF16, Q8_0, Q4_1 or Q4_K [default: as the file stores them]
    #[arg(long, value_name = "FORMAT")]
    weights: Option<String>,
    /// Keep keys and values in half precision: half the memory per token
    #[arg(long)]
    cache_f16: bool,
}

impl LoadArguments {
    /// How the matrices are kept.
    pub fn storage(&self) -> Result<Storage> {
        let Some(name) = &self.weights else { return Ok(Storage::AsStored) };
        let format = Format::from_name(name).filter(|format| quantise(*format, &[]).is_ok());
        let unknown = || Error::Usage(format!("--weights {name}: give F32, F16, BF16, Q8_0, Q4_1 or Q4_K"));
        format.map(Storage::As).ok_or_else(unknown)
    }

    /// How a cache stores its numbers.
    pub fn precision(&self) -> Precision {
        if self.cache_f16 { Precision::Half } else { Precision::Single }
    }
}

impl Shared {
    /// The model at `path` and how it reads and writes.
    pub(crate) fn load(&self, gpu: &Gpu, path: &Path, how: &LoadArguments) -> Result<(Gpt, TextCodec)> {
        let storage = how.storage()?;
        // The tokenizer first: it is small, and what is wrong with it shows at once.
        let codec = TextCodec::open(path)?;
        let bar = terminal::bar(0, self.quiet);
        bar.set_message("loading");
        let model = load::frozen(gpu, path, storage, |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok((model, codec))
    }
}
