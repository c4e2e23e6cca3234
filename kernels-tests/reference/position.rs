//! Embeddings and rotary positions.

/// `table[id] + positions[past + row % context]` for every row.
pub fn embed(
    ids: &[u32],
    table: &[f64],
    width: usize,
    positions: Option<&[f64]>,
    context: usize,
    past: usize,
) -> Vec<f64> {
    let value = |row: usize, c: usize| {
        let position = positions.map_or(0.0, |positions| positions[(past + row % context) * width + c]);
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
    let (mut table, mut positions) = (vec![0.0; vocabulary * width], vec![0.0; context * width]);
    for (row, &id) in ids.iter().enumerate() {
        for c in 0..width {
            table[id as usize * width + c] += grad_out[row * width + c];
            positions[row % context * width + c] += grad_out[row * width + c];
        }
    }
    (table, positions)
}

/// Rotates the first `rotated` of `heads` heads of `dim` columns in rows of a fused qkv: the pair `(i, i + dim/2)` by
/// `direction * position * theta^(-2i/dim)`. `direction = -1` is the gradient.
pub fn rope(
    x: &[f64],
    heads: usize,
    rotated: usize,
    dim: usize,
    context: usize,
    past: usize,
    theta: f64,
    direction: f64,
) -> Vec<f64> {
    let mut out = x.to_vec();
    for row in 0..x.len() / (heads * dim) {
        let position = (past + row % context) as f64;
        for head in 0..rotated {
            for i in 0..dim / 2 {
                let low = (row * heads + head) * dim + i;
                let high = low + dim / 2;
                let (sine, cosine) = (direction * position * theta.powf(-2.0 * i as f64 / dim as f64)).sin_cos();
                out[low] = x[low] * cosine - x[high] * sine;
                out[high] = x[high] * cosine + x[low] * sine;
            }
        }
    }
    out
}
