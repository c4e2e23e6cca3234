//! Running a training command under `mpirun` or Slurm.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::{Shared, hints};
use wgpt::{
    Error, Result,
    error::counted,
    io::atomic,
    parallel::{self, Group, Options},
};

/// Heading in the help. It is repeated for each option, because a common heading would also apply to later options.
const HEADING: &str = "Options of several ranks (mpirun -n 4 wgpt ...)";

/// Options of several ranks.
#[derive(Clone, Debug, Args)]
pub(super) struct RankArguments {
    /// Seconds of silence after which another rank counts as lost, and the run ends
    #[arg(long, help_heading = HEADING, default_value_t = 60.0, value_name = "SECONDS")]
    rank_timeout: f64,
    /// How to send gradients: f16 takes half the bytes and rounds
    #[arg(long, help_heading = HEADING, value_enum, default_value_t = Wire::F32)]
    wire: Wire,
    /// Steps that each rank takes on its own between outer steps, for slow links
    #[arg(long, help_heading = HEADING, default_value_t = 1, value_name = "STEPS")]
    sync_every: u64,
    /// Each rank keeps only the moments of its share of the parameters: less memory
    #[arg(long, help_heading = HEADING)]
    shard_optimizer: bool,
}

/// How gradients are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Wire {
    F32,
    F16,
}

impl RankArguments {
    fn options(&self) -> Result<Options> {
        let timeout = self.rank_timeout;
        if !(timeout.is_finite() && timeout >= 1.0) {
            return Err(Error::Usage(format!("--rank-timeout {timeout}: give 1 or more seconds")));
        }
        if self.sync_every == 0 {
            return Err(Error::Usage("--sync-every 0: give at least 1".to_string()));
        }
        if self.sync_every > 1 && self.shard_optimizer {
            let reason = "--sync-every and --shard-optimizer: a rank that takes steps of its own needs all moments; \
                          leave one of them out";
            return Err(Error::Usage(reason.to_string()));
        }
        let wire = match self.wire {
            Wire::F32 => parallel::Wire::F32,
            Wire::F16 => parallel::Wire::F16,
        };
        Ok(Options { timeout, wire, sync_every: self.sync_every, shard_optimizer: self.shard_optimizer })
    }
}

/// Runs a training command with the other ranks, if a launcher started any. Only the first rank prints; the others'
/// errors go to stderr as well.
pub(super) async fn run_on_ranks(
    shared: &Shared,
    arguments: &RankArguments,
    run: impl AsyncFnOnce(&Shared, &Group) -> Result<()>,
) -> Result<()> {
    join(shared, arguments.options()?, run).await
}

/// Like [`run_on_ranks`], with `options`.
pub(super) async fn join(
    shared: &Shared,
    options: Options,
    run: impl AsyncFnOnce(&Shared, &Group) -> Result<()>,
) -> Result<()> {
    let group = Group::join(options)?;
    let first = group.is_first();
    let shared = Shared { quiet: shared.quiet || !first, silent: !first, nth: group.local(), ..shared.clone() };
    if group.size() > 1 {
        shared.say(format_args!("{} on {}", counted(group.size(), "rank"), counted(group.hosts(), "host")));
    }
    let outcome = run(&shared, &group).await;
    group.leave(outcome.as_ref().err());
    outcome.map_err(|error| named(&group, error))
}

/// Writes the error of a rank other than the first to a file in the run's folder `out`, because its output may not reach
/// the terminal of the first.
pub(super) fn keep_error<T>(out: &Path, group: &Group, result: &Result<T>) {
    if let Err(error) = result
        && !group.is_first()
    {
        let words = format!("{}\n", hints::words(error));
        // Failing to write this file is not what ended the run, so it is not reported.
        let _ = atomic::write(&out.join(format!("rank-{}.log", group.rank())), words.as_bytes());
    }
}

/// An error with the name of the rank, if there are several.
fn named(group: &Group, error: Error) -> Error {
    match group.size() {
        1 => error,
        _ => Error::OnRank { rank: group.rank(), source: Box::new(error) },
    }
}
