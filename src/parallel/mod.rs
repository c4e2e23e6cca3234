//! Trains one model on several GPUs: every rank of an MPI job has the whole model and a share of each batch. Gradients
//! are exchanged through host memory, so the ranks' adapters need not be alike.
//!
//! Everything here also works with a single rank; without the feature `mpi` there is no other case.

#[cfg(any(feature = "mpi", test))]
mod f16;
pub mod forecast;
mod gradients;
mod group;
#[cfg(feature = "mpi")]
mod mpi;
mod outer;
mod replica;
mod shards;

pub use self::{
    gradients::GradientSum,
    group::{Group, Numbers, Reply, launched},
    outer::Outer,
    replica::Replica,
    shards::{Kept, Shards},
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
    /// Seconds of silence after which a rank counts as lost.
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
