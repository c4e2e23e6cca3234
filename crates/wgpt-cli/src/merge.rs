//! `wgpt merge`

use std::path::PathBuf;

use clap::Args;

use super::{Shared, convert};
use wgpt::{
    Result,
    interchange::{TextCodec, adapter::Adapters},
};

/// Merge a base model and the adapters trained on it into one model
#[derive(Debug, Args)]
#[command(
    after_help = "The merged weights are W + alpha/rank B A. A name that ends in .gguf makes a GGUF file, any other \
name a Hugging Face folder.

Examples:
  wgpt merge --lora runs/chat --out merged.gguf --format Q8_0
  wgpt merge --model SmolLM2-135M-Instruct.Q4_1.gguf --lora runs/chat --out merged --format F16"
)]
pub(crate) struct Arguments {
    /// The base model of the adapters [default: where it was when they were trained]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    // Not --adapter, which selects the GPU in every command.
    /// Checkpoint or run folder with the adapters
    #[arg(long, value_name = "RUN")]
    lora: PathBuf,
    /// File or folder to write
    #[arg(long, value_name = "FILE.gguf|DIR")]
    out: PathBuf,
    /// Format of the matrices: F32, F16, BF16; in GGUF also Q8_0, Q4_1, Q4_K
    #[arg(long, default_value = "F32")]
    format: String,
}

/// Runs the command.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let Arguments { model, lora, out, format } = arguments;
    let stored = convert::format_of(format)?;
    let adapters = Adapters::open(lora)?;
    let path = model.clone().map_or_else(|| adapters.base_path(), Ok)?;
    convert::write(shared, &adapters.merged(&path)?, &TextCodec::adapted(lora, &path)?, out, stored)
}
