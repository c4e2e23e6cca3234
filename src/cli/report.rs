//! `wgpt report`
use clap::Args;
use super::Shared;
use crate::Result;

/// Curves and samples of a run as a page
#[derive(Debug, Args)]
pub(crate) struct Arguments {}

/// Runs the command.
pub(crate) fn run(_shared: &Shared, _arguments: &Arguments) -> Result<()> {
    Ok(())
}
