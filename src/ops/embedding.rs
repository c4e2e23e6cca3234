//! Token (and learned or fixed position) embedding; its gradient without atomics.

use super::{expect, flat_grid, packed, reduce, require, token_groups::TokenGroups, weight::Weight};
use crate::{Result, binds, gpu::Gpu, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Looks rows up and adds positions.
    EMBED = "embed";
    /// Adds gradients up by token id.
    EMBED_BACKWARD = "embed_backward";
}

/// Token ids on the GPU, and (for training) which rows hold the same id.
pub struct Tokens {
    /// `[batch, context]`
    pub ids: Tensor,
    pub(super) groups: Option<Groups>,
}

/// Rows by the id that they hold, on the GPU; see [`TokenGroups`].
#[derive(Clone)]
pub(super) struct Groups {
    ids: Tensor,
    starts: Tensor,
    order: Tensor,
    count: usize,
}

impl Tokens {
    /// Uploads `[batch, context]` ids; `trains` also uploads the groups that the gradient needs.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the number of ids is not `batch * context`.
    pub fn new(gpu: &Gpu, ids: &[u32], batch: usize, context: usize, trains: bool) -> Result<Self> {
        let groups = trains
            .then(|| {
                let groups = TokenGroups::new(ids);
                // Padded to the number of rows: a step's buffers must not depend on how many ids are distinct.
                let pad = |mut values: Vec<u32>, length: usize| {
                    values.resize(length, 0);
                    Tensor::from_u32(gpu, &[length], &values)
                };
                let count = groups.ids.len();
                let (starts, order) = (pad(groups.starts, ids.len() + 1)?, pad(groups.order, ids.len())?);
                Ok::<_, crate::Error>(Groups { ids: pad(groups.ids, ids.len())?, starts, order, count })
            })
            .transpose()?;
        Ok(Self { ids: Tensor::from_u32(gpu, &[batch, context], ids)?, groups })
    }
}

/// `table[id] (+ positions[past + t])` for every token: `[batch, context, width]`.
///
/// A packed table is frozen.
///
/// # Errors
/// [`crate::Error::Shape`] when the tables' widths differ or a position is past its table.
pub fn embed(
    tape: &Tape,
    tokens: &Tokens,
    table: impl Into<Weight>,
    positions: Option<&Tensor>,
    past: usize,
) -> Result<Tensor> {
    let table = match table.into() {
        Weight::Plain(table) => table,
        Weight::Packed(table) => return packed::embed::embed(tokens, &table, positions, past),
    };
    let table = &table;
    let (context, width) = (tokens.ids.shape()[1], table.width());
    if let Some(positions) = positions {
        expect("embed", "the position table", positions, &[positions.shape()[0], width])?;
        require(past + context <= positions.shape()[0], "embed", || {
            format!("position {} is past the table's {}", past + context - 1, positions.shape()[0])
        })?;
    }
    let out = look_up(&tokens.ids, table, positions, past)?;
    let Some(groups) = tokens.groups.clone() else { return Ok(out) };
    let need_positions = positions.filter(|positions| tape.tracks(positions)).cloned();
    let (need_table, table_kept) = (tape.tracks(table), table.clone());
    let inputs: Vec<_> = [table].into_iter().chain(positions).collect();
    tape.push(&inputs, &out, move |gradients, gradient| {
        if let Some(positions) = need_positions {
            let (slot, accumulate) = gradients.slot(&positions)?;
            if !accumulate {
                slot.clear();
            }
            // Only the positions that the batch reached get anything; the others keep what they had.
            let reached = slot.rows(0, context)?;
            reduce::column_sum(&gradient, &reached.reshape(&[context * width])?, true)?;
        }
        if need_table {
            let (slot, accumulate) = gradients.slot(&table_kept)?;
            if !accumulate {
                slot.clear();
            }
            scatter(&groups, &gradient, &slot)?;
        }
        Ok(())
    });
    Ok(out)
}

/// The forward kernel: `ids [batch, context]` to `[batch, context, width]`.
pub(super) fn look_up(ids: &Tensor, table: &Tensor, positions: Option<&Tensor>, past: usize) -> Result<Tensor> {
    let (gpu, context, width) = (ids.gpu(), ids.width(), table.width());
    let out = Tensor::empty_f32(gpu, &[ids.height(), context, width])?;
    let count = out.elements();
    for (first, held) in table.row_pieces() {
        let piece = table.rows(first, held)?;
        let binds = binds![
            ids: ids.bind(), table: piece.bind(), positions: positions.unwrap_or(&piece).bind(), out: out.bind(),
        ];
        let params = params![count: count, width: width, first: first, held: held, context: context, past: past];
        gpu.run(&EMBED.set("POSITIONS", positions.is_some()), binds, params, flat_grid(gpu, count))?;
    }
    Ok(out)
}

/// Adds the rows of `grad_out` to the rows of `slot` that their tokens name.
pub(super) fn scatter(groups: &Groups, grad_out: &Tensor, slot: &Tensor) -> Result<()> {
    let (gpu, width) = (slot.gpu(), slot.width());
    let count = groups.count * width;
    for (first, held) in slot.row_pieces() {
        let piece = slot.rows(first, held)?;
        let binds = binds![
            ids: groups.ids.bind(), starts: groups.starts.bind(), order: groups.order.bind(),
            grad_out: grad_out.bind(), grad_table: piece.bind(),
        ];
        let params = params![count: count, width: width, first: first, held: held];
        gpu.run(&EMBED_BACKWARD.plain(), binds, params, flat_grid(gpu, count))?;
    }
    Ok(())
}
