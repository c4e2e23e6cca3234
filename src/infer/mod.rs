//! Text from a trained model.

pub mod batch;
pub mod embed;
pub mod engine;
pub(crate) mod explain;
pub mod generate;
pub mod sampler;
pub mod session;
