//! `wgpt report`
use super::Shared;
use crate::Result;
use clap::Args;

/// Curves and samples of a run as a page
#[derive(Debug, Args)]
pub(crate) struct Arguments {}

/// Runs the command.
pub(crate) fn run(_shared: &Shared, _arguments: &Arguments) -> Result<()> {
    Ok(())
}
