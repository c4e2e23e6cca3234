//! Several GPUs that train one model: every rank of an MPI job has the whole model and a share of each batch, and gradients
//! meet in host memory, so that the ranks' adapters need have nothing in common.
//!
//! Everything here works for a rank that is alone as well: without the feature `mpi` there is no other.

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

/// How numbers travel between ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// As they are.
    #[default]
    F32,
    /// In half the bytes, rounded twice: before they are added in f32, and after.
    F16,
}

/// How ranks work together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Seconds of silence after which a rank counts as lost.
    pub timeout: f64,
    /// How gradients travel.
    pub wire: Wire,
    /// Steps between meetings; at 1 every gradient is the mean over all ranks, above it each rank takes steps of its own and an
    /// outer step joins them (see [`Outer`]).
    pub sync_every: u64,
    /// Each rank keeps the moments of its share of the parameters only, and updates only that.
    pub shard_optimizer: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: 60.0, wire: Wire::F32, sync_every: 1, shard_optimizer: false }
    }
}
