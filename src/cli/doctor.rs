//! `wgpt doctor`
use super::Shared;
use crate::Result;
use clap::Args;

/// Check every kernel on this adapter
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only list the adapters
    #[arg(long)]
    list: bool,
}

/// Runs the command.
pub(crate) async fn run(_shared: &Shared, _arguments: &Arguments) -> Result<()> {
    Ok(())
}
