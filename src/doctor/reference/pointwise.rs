//! Functions of single elements, and sums.

/// GELU in its tanh form (GPT-2).
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

/// The derivative of [`gelu`].
pub fn gelu_derivative(x: f64) -> f64 {
    let scale = (2.0 / std::f64::consts::PI).sqrt();
    let t = (scale * (x + 0.044715 * x * x * x)).tanh();
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * scale * (1.0 + 3.0 * 0.044715 * x * x)
}

/// `grad_out * gelu'(x)`.
pub fn gelu_backward(x: &[f64], grad_out: &[f64]) -> Vec<f64> {
    x.iter().zip(grad_out).map(|(x, g)| g * gelu_derivative(*x)).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `silu(gate) * up` for rows `[2 width]` that hold gate, then up.
pub fn swiglu(x: &[f64], width: usize) -> Vec<f64> {
    let row = |row: &[f64]| (0..width).map(|c| row[c] * sigmoid(row[c]) * row[width + c]).collect::<Vec<_>>();
    x.chunks_exact(2 * width).flat_map(row).collect()
}

/// The gradient of [`swiglu`]'s input.
pub fn swiglu_backward(x: &[f64], grad_out: &[f64], width: usize) -> Vec<f64> {
    let mut grad = Vec::with_capacity(x.len());
    for (row, g) in x.chunks_exact(2 * width).zip(grad_out.chunks_exact(width)) {
        let (gate, up) = row.split_at(width);
        let slope = |x: f64| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
        grad.extend((0..width).map(|c| g[c] * up[c] * slope(gate[c])));
        grad.extend((0..width).map(|c| g[c] * gate[c] * sigmoid(gate[c])));
    }
    grad
}

/// `before + factor * x`.
pub fn scale(x: &[f64], factor: f64, before: Option<&[f64]>) -> Vec<f64> {
    x.iter().enumerate().map(|(i, x)| before.map_or(0.0, |before| before[i]) + factor * x).collect()
}

/// `a + b`.
pub fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The finaliser of MurmurHash3.
fn mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 13)).wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

/// The bits that dropout compares with its threshold.
pub fn random_bits(key: u32, counter: u32) -> u32 {
    mix(mix(counter ^ 0x9e37_79b9).wrapping_add(key))
}

/// `x / (1 - rate)` where the random bits are at least `rate * 2^32`, else 0.
pub fn dropout(x: &[f64], rate: f64, key: u32) -> Vec<f64> {
    let threshold = (rate * 4_294_967_296.0) as u32;
    let keeps = |i: usize| random_bits(key, i as u32) >= threshold;
    x.iter().enumerate().map(|(i, x)| if keeps(i) { x / (1.0 - rate) } else { 0.0 }).collect()
}

/// Sums over rows: `[columns]`, added to `before`.
pub fn column_sum(x: &[f64], columns: usize, before: Option<&[f64]>) -> Vec<f64> {
    let sum = |c: usize| x.iter().skip(c).step_by(columns).sum::<f64>();
    (0..columns).map(|c| before.map_or(0.0, |before| before[c]) + sum(c)).collect()
}

/// `sqrt(sum of squares)`.
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `factor` times the sum of `count` elements, starting at `first` and `stride` apart.
pub fn sum(x: &[f64], count: usize, first: usize, stride: usize, factor: f64) -> f64 {
    factor * (0..count).map(|i| x[first + stride * i]).sum::<f64>()
}

/// The sum of squares of every block of `block` elements; the last block may be shorter.
pub fn square_sums(x: &[f64], block: usize) -> Vec<f64> {
    x.chunks(block).map(|block| block.iter().map(|x| x * x).sum()).collect()
}
