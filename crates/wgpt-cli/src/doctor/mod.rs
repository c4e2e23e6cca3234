//! `wgpt doctor`

mod full;
mod kernels;
mod tuner;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Shared;
use wgpt::{
    Error, Result,
    gpu::{Options, adapter, capabilities},
    wgpu,
};

/// Check every kernel on this adapter
#[derive(Debug, Args)]
#[command(
    after_help = "Runs every kernel in every variant that could be chosen here, and compares it with an f64 oracle. \
The exit status is not 0 if one is wrong. Ctrl-C ends it with what was found so far.

--full also takes twenty training steps of two models, in f16 too if the adapter has it, whose losses must equal those of an
independent program, and decodes answers of the model that comes with wgpt with a contiguous cache, with a paged cache, and
by running whole texts. It ends with a short report to paste into an issue.

--tuner tunes from scratch for three typical training runs and for decoding, and compares every choice with the times of all
variants; the exit status is not 0 if one takes more than 5 % longer than the best. Stored choices are not changed.

Examples:
  wgpt doctor
  wgpt doctor --full --report report.md
  wgpt doctor --tuner
  wgpt doctor --tuner --classes rows --json
  wgpt doctor --list
  wgpt doctor --adapter llvmpipe --report doctor.md"
)]
pub(crate) struct Arguments {
    /// Only list the adapters
    #[arg(long)]
    list: bool,
    /// Do not time the kernels
    #[arg(long)]
    no_times: bool,
    /// Also check training and decoding, without times, and write a report for an issue
    #[arg(long, conflicts_with_all = ["list", "no_times"])]
    full: bool,
    /// Check the tuner's choices instead
    #[arg(long, conflicts_with_all = ["list", "no_times", "full"])]
    tuner: bool,
    /// Only the classes of shapes whose name contains this
    #[arg(long, requires = "tuner", default_value = "", hide_default_value = true, value_name = "TEXT")]
    classes: String,
    /// Write the tuner's choices into this file; those for software drivers come with wgpt, in data/choices
    #[arg(long, requires = "tuner", value_name = "FILE.json")]
    save: Option<PathBuf>,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE.md")]
    report: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    if arguments.list {
        return list(shared).await;
    }
    if arguments.tuner {
        return tuner::run(shared, &arguments.classes, arguments.report.as_deref(), arguments.save.as_deref()).await;
    }
    if arguments.full {
        return full::run(shared, arguments.report.as_deref()).await;
    }
    kernels::run(shared, arguments).await
}

async fn list(shared: &Shared) -> Result<()> {
    Options::from_environment().validate()?;
    let found = adapter::list().await;
    let adapters: Vec<_> = found.iter().map(|adapter| adapter::describe(&adapter.get_info())).collect();
    let named = |features: wgpu::Features| capabilities::names(|feature| features.contains(feature));
    let features: Vec<_> = found.iter().map(|adapter| named(adapter.features())).collect();
    if adapters.is_empty() {
        return Err(Error::NoAdapter(adapter::INSTALL_HINT.to_string()));
    }
    shared.result(&json!({ "adapters": adapters, "features": features }), || {
        let line = |(i, (name, features)): (usize, (&String, &Vec<_>))| format!("{i}: {name}: {}", features.join(", "));
        adapters.iter().zip(&features).enumerate().map(line).collect::<Vec<_>>().join("\n")
    })
}
