//! Embeddings, rotary and sinusoidal positions.

/// `table[id] + positions[past + row % context]` for every row.
pub fn embed(
    ids: &[u32],
    table: &[f64],
    width: usize,
    positions: Option<&[f64]>,
    context: usize,
    past: usize,
) -> Vec<f64> {
    let at: Vec<usize> = (0..ids.len()).map(|row| past + row % context).collect();
    embed_at(ids, table, width, positions, &at)
}

/// `table[id] + positions[at[row]]` for every row.
pub fn embed_at(ids: &[u32], table: &[f64], width: usize, positions: Option<&[f64]>, at: &[usize]) -> Vec<f64> {
    let value = |row: usize, c: usize| {
        let position = positions.map_or(0.0, |positions| positions[at[row] * width + c]);
        table[ids[row] as usize * width + c] + position
    };
    (0..ids.len() * width).map(|i| value(i / width, i % width)).collect()
}

/// The gradients of the table (of `vocabulary` rows) and of the positions (of `context` rows).
pub fn embed_backward(
    ids: &[u32],
    grad_out: &[f64],
    width: usize,
    vocabulary: usize,
    context: usize,
) -> (Vec<f64>, Vec<f64>) {
    let at: Vec<usize> = (0..ids.len()).map(|row| row % context).collect();
    embed_at_backward(ids, grad_out, width, vocabulary, context, &at)
}

/// The gradients of the table and of `reached` rows of positions in [`embed_at`].
pub fn embed_at_backward(
    ids: &[u32],
    grad_out: &[f64],
    width: usize,
    vocabulary: usize,
    reached: usize,
    at: &[usize],
) -> (Vec<f64>, Vec<f64>) {
    let (mut table, mut positions) = (vec![0.0; vocabulary * width], vec![0.0; reached * width]);
    for (row, &id) in ids.iter().enumerate() {
        for c in 0..width {
            table[id as usize * width + c] += grad_out[row * width + c];
            positions[at[row] * width + c] += grad_out[row * width + c];
        }
    }
    (table, positions)
}

/// What rotates in the rows of a fused qkv.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Heads per row.
    pub heads: usize,
    /// How many of the first heads are rotated.
    pub rotated: usize,
    /// Columns per head.
    pub dim: usize,
    /// Rows per sequence.
    pub context: usize,
    /// Position of a sequence's first row.
    pub past: usize,
    /// Base of the angles.
    pub theta: f64,
}

/// Rotates the pair `(i, i + dim/2)` by `direction * position * theta^(-2i/dim)`; `direction = -1` is the gradient.
pub fn rope(r: Rotary, x: &[f64], direction: f64) -> Vec<f64> {
    let at: Vec<usize> = (0..x.len() / (r.heads * r.dim)).map(|row| r.past + row % r.context).collect();
    rope_at(r, x, &at, direction)
}

/// [`rope`] with the rows at positions `at`.
pub fn rope_at(r: Rotary, x: &[f64], at: &[usize], direction: f64) -> Vec<f64> {
    let mut out = x.to_vec();
    for (row, position) in at.iter().enumerate() {
        let position = *position as f64;
        for head in 0..r.rotated {
            for i in 0..r.dim / 2 {
                let low = (row * r.heads + head) * r.dim + i;
                let high = low + r.dim / 2;
                let (sine, cosine) = (direction * position * r.theta.powf(-2.0 * i as f64 / r.dim as f64)).sin_cos();
                out[low] = x[low] * cosine - x[high] * sine;
                out[high] = x[high] * cosine + x[low] * sine;
            }
        }
    }
    out
}

/// Fixed position vectors `[context, width]` (Vaswani et al. 2017): columns 2i and 2i + 1 hold the sine and the cosine
/// of `position / 10000^(2i / width)`; an odd width ends with a sine.
pub fn sinusoidal(context: usize, width: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(context * width);
    for position in 0..context {
        for column in 0..width {
            let pair = column / 2;
            let angle = position as f64 / 10_000f64.powf(2.0 * pair as f64 / width as f64);
            out.push(if column % 2 == 0 { angle.sin() } else { angle.cos() });
        }
    }
    out
}
