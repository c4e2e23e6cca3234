//! `wgpt convert`

use std::{
    cell::RefCell,
    collections::HashSet,
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::{Shared, output};
use wgpt::{
    Error, Result,
    formats::{Format, Rows},
    interchange::{self, TextCodec, gguf, huggingface},
    model::{Config, Source, parameters},
};

/// Convert a model for other programs
#[derive(Debug, Args)]
#[command(after_help = "A name that ends in .gguf makes a GGUF file, any other name a Hugging Face folder.

Examples:
  wgpt convert --model runs/shakespeare --out shakespeare.gguf
  wgpt convert --model model.gguf --out folder --format F16")]
pub(crate) struct Arguments {
    /// Checkpoint or run folder, Hugging Face folder, or GGUF file
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// File or folder to write
    #[arg(long, value_name = "FILE.gguf|DIR")]
    out: PathBuf,
    /// Format of the matrices: F32, F16, BF16; in GGUF also Q8_0, Q4_1, Q4_K
    #[arg(long, default_value = "F32")]
    format: String,
}

/// Runs the command.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let Arguments { model, out, format } = arguments;
    let stored = format_of(format)?;
    write(shared, &*interchange::open(model)?, &TextCodec::open(model)?, out, stored)
}

/// The value of `--format`.
pub(super) fn format_of(name: &str) -> Result<Format> {
    Format::from_name(name)
        .ok_or_else(|| Error::Usage(format!("--format {name}: give F32, F16, BF16, Q8_0, Q4_1 or Q4_K")))
}

/// A model that counts the parameters that have been read, to show progress.
struct CountingSource<'a> {
    source: &'a dyn Source,
    done: RefCell<HashSet<String>>,
    bar: ProgressBar,
}

impl Source for CountingSource<'_> {
    fn config(&self) -> &Config {
        self.source.config()
    }

    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>> {
        self.source.parameter(name)
    }

    fn done(&self, name: &str) {
        self.source.done(name);
        // A parameter may be read in several pieces.
        self.done.borrow_mut().insert(name.to_string());
        self.bar.set_position(self.done.borrow().len() as u64);
    }
}

/// Writes a model to `out`, and prints a message.
pub(super) fn write(shared: &Shared, source: &dyn Source, codec: &TextCodec, out: &Path, format: Format) -> Result<()> {
    let bar = output::bar(parameters::specs(source.config()).len() as u64, shared.quiet);
    bar.set_message("writing");
    let source = &CountingSource { source, done: RefCell::default(), bar: bar.clone() };
    if out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf")) {
        gguf::save(source, Some(codec), out, format)?;
    } else {
        huggingface::save(source, Some(codec), out, format)?;
    }
    bar.finish_and_clear();
    shared.result(&json!({ "out": out, "format": format.name() }), || format!("written to {}", out.display()))
}
