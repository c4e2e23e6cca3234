//! Where a model's weights come from, whatever kind of file holds them.

use super::Config;
use crate::{Result, formats::Rows};

/// A stored model.
pub trait Source {
    /// The shape of the model.
    fn config(&self) -> &Config;

    /// A parameter under wgpt's name (see [`parameters::specs`](super::parameters::specs)), in the pieces that the file holds,
    /// in row order: a fused `attention.qkv` may come as queries, keys and values, each in its own format. Vectors come as one
    /// row per piece. Together the pieces have the shape that the configuration gives. Empty if the model has no such
    /// parameter.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] when the file lacks it, or has it in another shape or type.
    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>>;

    /// Tells the source that a parameter will not be needed again soon, so that its memory can be released.
    fn done(&self, _name: &str) {}
}
