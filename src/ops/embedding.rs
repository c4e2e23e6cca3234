//! Token (and learned or fixed position) embedding, with a gradient that needs no atomics.

use super::{
    expect, packed, reduce, require,
    rows::{Plan, by_elements, elements},
    weight::Weight,
};
use crate::{Result, binds, gpu::Gpu, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Looks up rows and adds positions.
    EMBED = "embed";
    /// Sums gradients by token id.
    EMBED_BACKWARD = "embed_backward";
}

/// Token ids on the GPU and, for training, the rows grouped by id.
pub struct Tokens {
    /// `[batch, context]`
    pub ids: Tensor,
    /// `[batch, context]`: the first position in its row that a token sees, and from which its own position is counted.
    pub segments: Option<Tensor>,
    pub(super) groups: Option<Groups>,
    /// Rows by position; without segments, column sums suffice.
    places: Option<Groups>,
}

/// Rows grouped by their id, on the GPU; see [`TokenGroups`].
#[derive(Clone)]
pub(super) struct Groups {
    /// `[rows]`: the distinct ids, then padding.
    ids: Tensor,
    /// `[rows + 1]`: where each id's rows begin in `order`, then padding.
    starts: Tensor,
    /// `[rows]`: all rows, by id.
    order: Tensor,
    /// Distinct ids.
    count: usize,
}

impl Tokens {
    /// Uploads `[batch, context]` ids; `trains` also uploads the groups that the gradient needs.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the number of ids is not `batch * context`.
    pub fn new(gpu: &Gpu, ids: &[u32], batch: usize, context: usize, trains: bool) -> Result<Self> {
        let groups = trains.then(|| Groups::new(gpu, ids)).transpose()?;
        Ok(Self { ids: Tensor::from_u32(gpu, &[batch, context], ids)?, segments: None, groups, places: None })
    }

    /// [`Tokens::new`] for rows that hold several texts one after another. The token at `t` of a row belongs to the
    /// text that begins at `starts[t]`, for `starts [batch, context]`: it sees the tokens `starts[t]..=t` and has
    /// position `t - starts[t]`, so that packing changes nothing.
    ///
    /// # Errors
    /// [`crate::Error::Shape`], also when starts decrease along a row or exceed their token's index:
    /// the kernels rely on both.
    pub fn with_segments(
        gpu: &Gpu,
        ids: &[u32],
        starts: &[u32],
        batch: usize,
        context: usize,
        trains: bool,
    ) -> Result<Self> {
        require(starts.len() == ids.len(), "segments", || format!("{} for {} tokens", starts.len(), ids.len()))?;
        for row in starts.chunks(context.max(1)) {
            let wrong = (0..row.len()).find(|&t| row[t] as usize > t || t > 0 && row[t] < row[t - 1]);
            if let Some(t) = wrong {
                return Err(crate::Error::shape("segments", format!("token {t} of a row cannot begin at {}", row[t])));
            }
        }
        let positions: Vec<u32> = starts.iter().enumerate().map(|(i, start)| (i % context) as u32 - start).collect();
        let places = trains.then(|| Groups::new(gpu, &positions)).transpose()?;
        let segments = Some(Tensor::from_u32(gpu, &[batch, context], starts)?);
        Ok(Self { segments, places, ..Self::new(gpu, ids, batch, context, trains)? })
    }
}

impl Tokens {
    /// The same tokens for inference, with segments `[batch, context]` that may begin before them, in a cache.
    pub fn within(&self, segments: Tensor) -> Self {
        Self { ids: self.ids.clone(), segments: Some(segments), groups: None, places: None }
    }
}

impl Groups {
    fn new(gpu: &Gpu, ids: &[u32]) -> Result<Self> {
        let groups = TokenGroups::new(ids);
        // Padded to the number of rows: the buffers of a step must not depend on how many ids are distinct.
        let pad = |mut values: Vec<u32>, length: usize| {
            values.resize(length, 0);
            Tensor::from_u32(gpu, &[length], &values)
        };
        let count = groups.ids.len();
        let (starts, order) = (pad(groups.starts, ids.len() + 1)?, pad(groups.order, ids.len())?);
        Ok(Self { ids: pad(groups.ids, ids.len())?, starts, order, count })
    }
}

/// `table[id] (+ positions[past + t - start])` for every token, where `start` is where its segment starts:
/// `[batch, context, width]`, from `table [vocabulary, width]` and `positions [places, width]`.
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
        Weight::Plain(table) | Weight::Mixed { master: table, .. } => table,
        Weight::Packed(table) => return packed::rows::embed(tokens, &table, positions, past),
    };
    let table = &table;
    let (context, width) = (tokens.ids.shape()[1], table.width());
    if let Some(positions) = positions {
        expect("embed", "the position table", positions, &[positions.shape()[0], width])?;
        require(past + context <= positions.shape()[0], "embed", || {
            format!("position {} is past the table's {}", past + context - 1, positions.shape()[0])
        })?;
    }
    let out = look_up(tokens, table, positions, past)?;
    let Some(groups) = tokens.groups.clone() else { return Ok(out) };
    let places = tokens.places.clone();
    let need_positions = positions.filter(|positions| tape.tracks(positions)).cloned();
    let (need_table, table_kept) = (tape.tracks(table), table.clone());
    let inputs: Vec<_> = [table].into_iter().chain(positions).collect();
    tape.push(&inputs, &out, move |gradients, gradient| {
        if let Some(positions) = need_positions {
            let (slot, accumulate) = gradients.slot(&positions)?;
            if !accumulate {
                slot.clear();
            }
            // Only the positions that occur in the batch get a gradient; the others keep what they had.
            match &places {
                Some(places) => scatter(places, &gradient, &slot)?,
                None => {
                    let reached = slot.rows(0, context)?;
                    reduce::column_sum(&gradient, &reached.reshape(&[context * width])?, true)?;
                }
            }
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

/// How rows are divided among lanes: neighbouring elements go to neighbouring lanes, and nothing is summed.
const LOOK_UP: Plan = Plan::plain("32x2", 32, 2);

/// The forward kernel: tokens `[batch, context]` to `[batch, context, width]`.
pub(super) fn look_up(tokens: &Tokens, table: &Tensor, positions: Option<&Tensor>, past: usize) -> Result<Tensor> {
    let ids = &tokens.ids;
    let (gpu, context, width) = (ids.gpu(), ids.width(), table.width());
    let out = Tensor::empty_f32(gpu, &[ids.height(), context, width])?;
    let rows = ids.elements();
    for (first, held) in table.row_pieces() {
        let piece = table.rows(first, held)?;
        let binds = binds![
            ids: ids.bind(), table: piece.bind(), positions: positions.unwrap_or(&piece).bind(),
            starts: tokens.segments.as_ref().unwrap_or(ids).bind(), out: out.bind(),
        ];
        let params = params![rows: rows, width: width, first: first, held: held, context: context, past: past];
        let variant = LOOK_UP.variant(&EMBED, width);
        let variant = variant.set("POSITIONS", positions.is_some()).set("SEGMENTS", tokens.segments.is_some());
        gpu.run(&variant, binds, params, LOOK_UP.grid(gpu, rows))?;
    }
    Ok(out)
}

/// Adds each row of `grad_out [.., width]` to the row of `slot [vocabulary, width]` that its token names.
pub(super) fn scatter(groups: &Groups, grad_out: &Tensor, slot: &Tensor) -> Result<()> {
    let (gpu, width) = (slot.gpu(), slot.width());
    let columns = width / elements(width);
    let count = groups.count * columns;
    for (first, held) in slot.row_pieces() {
        let piece = slot.rows(first, held)?;
        let binds = binds![
            ids: groups.ids.bind(), starts: groups.starts.bind(), order: groups.order.bind(),
            grad_out: grad_out.bind(), grad_table: piece.bind(),
        ];
        let params = params![count: count, columns: columns, first: first, held: held];
        gpu.run(&by_elements(EMBED_BACKWARD.plain(), width), binds, params, gpu.flat_grid(count))?;
    }
    Ok(())
}

/// Positions grouped by token id, so that the gradient of an embedding row is a sum in a fixed order by one invocation
/// instead of atomic additions: group g, of token `ids[g]`, is `order[starts[g]..starts[g + 1]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGroups {
    /// All positions, by token id and then by position.
    pub order: Vec<u32>,
    /// Where each group begins in `order`, followed by the length of `order`; one more than `ids`.
    pub starts: Vec<u32>,
    /// The distinct token ids, ascending.
    pub ids: Vec<u32>,
}

impl TokenGroups {
    /// Groups the positions `0..tokens.len()` by a stable counting sort.
    pub fn new(tokens: &[u32]) -> Self {
        let mut counts = vec![0u32; tokens.iter().max().map_or(0, |&id| id as usize + 1)];
        tokens.iter().for_each(|&id| counts[id as usize] += 1);
        let (mut ids, mut starts, mut total) = (Vec::new(), Vec::new(), 0);
        // From here on, `counts` holds where the next position of each token goes.
        for (id, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            ids.push(id as u32);
            starts.push(total);
            total += std::mem::replace(count, total);
        }
        starts.push(total);
        let mut order = vec![0; tokens.len()];
        for (position, &id) in tokens.iter().enumerate() {
            let next = &mut counts[id as usize];
            order[*next as usize] = position as u32;
            *next += 1;
        }
        Self { order, starts, ids }
    }
}

#[cfg(test)]
mod tests {
    use super::TokenGroups;

    #[test]
    fn groups_are_sorted_by_token_then_position() {
        let groups = TokenGroups::new(&[7, 2, 7, 0, 2, 7]);
        assert_eq!(groups.ids, [0, 2, 7]);
        assert_eq!(groups.starts, [0, 1, 3, 6]);
        assert_eq!(groups.order, [3, 1, 4, 0, 2, 5]);
        assert_eq!(TokenGroups::new(&[]), TokenGroups { order: vec![], starts: vec![0], ids: vec![] });
    }
}
