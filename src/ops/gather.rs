//! Rows by index, such as each text's last token.

use super::{
    embedding::{self, Tokens},
    require,
};
use crate::{Result, gpu::Gpu, tape::Tape, tensor::Tensor};

/// Row numbers, on the GPU.
pub struct RowIndex {
    tokens: Tokens,
    /// One past the greatest index.
    bound: usize,
}

impl RowIndex {
    /// Uploads row numbers; a row may occur several times. `trains` also uploads what the gradient needs.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when there are none.
    pub fn new(gpu: &Gpu, rows: &[u32], trains: bool) -> Result<Self> {
        require(!rows.is_empty(), "gather", || "no rows are named".to_string())?;
        let bound = rows.iter().max().map_or(0, |row| *row as usize + 1);
        Ok(Self { tokens: Tokens::new(gpu, rows, rows.len(), 1, trains)?, bound })
    }

    /// Number of rows named.
    pub fn count(&self) -> usize {
        self.tokens.ids.elements()
    }
}

/// `out[i] = x[rows[i]]` for `x [.., width]` seen as rows: `[count, width]`. It uses the embedding's kernels with `x` as
/// the table, so gradients of a row that occurs more than once add up in a fixed order.
///
/// # Errors
/// [`crate::Error::Shape`] when a row is past the end, or a gradient is needed but the index was made without `trains`.
pub fn gather(tape: &Tape, x: &Tensor, rows: &RowIndex) -> Result<Tensor> {
    let (height, width, bound) = (x.height(), x.width(), rows.bound);
    require(bound <= height, "gather", || format!("row {} of {:?}, which has {height}", bound - 1, x.shape()))?;
    let out = embedding::look_up(&rows.tokens, &x.reshape(&[height, width])?, None, 0)?;
    let out = out.reshape(&[rows.count(), width])?;
    if !tape.tracks(x) {
        return Ok(out);
    }
    let groups = rows.tokens.groups.clone();
    require(groups.is_some(), "gather", || "the row numbers were uploaded without `trains`".to_string())?;
    let x_kept = x.clone();
    tape.push(&[x], &out, move |gradients, gradient| {
        let (slot, accumulate) = gradients.slot(&x_kept)?;
        if !accumulate {
            slot.clear();
        }
        groups.map_or(Ok(()), |groups| embedding::scatter(&groups, &gradient, &slot.reshape(&[height, width])?))
    });
    Ok(out)
}
