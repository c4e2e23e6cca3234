//! Several GPUs that train one model: every rank has the whole model and a share of each batch, and gradients meet in host
//! memory, so that the ranks' adapters need have nothing in common.
//!
//! Ranks are the processes of an MPI job (with the feature `mpi`, [`Group::join`]) or threads of one process ([`threads`]).
//! Everything here works for a rank that is alone as well.

mod f16;
pub mod forecast;
mod gradients;
mod group;
#[cfg(feature = "mpi")]
mod mpi;
mod outer;
mod replica;
mod shards;
mod threads;

pub use self::{
    gradients::GradientSum,
    group::{Group, Numbers, Reply, launched},
    outer::Outer,
    replica::Replica,
    shards::{Kept, Shards},
    threads::threads,
};

/// How numbers are sent between ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Unchanged, as f32.
    #[default]
    F32,
    /// As f16, half the bytes, rounded twice: before they are added in f32, and afterwards.
    F16,
}

/// How ranks work together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Seconds of silence after which a process counts as lost; a thread is waited for as long as it runs.
    pub timeout: f64,
    /// How gradients are sent.
    pub wire: Wire,
    /// Steps between meetings. At 1, every gradient is the mean over all ranks; above 1, each rank takes its own steps
    /// and an outer step joins them (see [`Outer`]).
    pub sync_every: u64,
    /// Each rank keeps only the moments of its share of the parameters, and updates only that share.
    pub shard_optimizer: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: 60.0, wire: Wire::F32, sync_every: 1, shard_optimizer: false }
    }
}
