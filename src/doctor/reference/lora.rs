//! A linear layer with a low-rank adapter: `y = x (W + scale B A)^T` for `W [features, width]`, `A [rank, width]`,
//! `B [features, rank]`.

use super::matmul::{Layout, matmul};

/// The sizes of a layer and its adapter.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Rows of x.
    pub rows: usize,
    /// Inputs.
    pub width: usize,
    /// Outputs.
    pub features: usize,
    /// Inner dimension of the adapter.
    pub rank: usize,
}

/// The gradients of [`forward`].
#[derive(Clone, Debug)]
pub struct Gradients {
    /// `[rows, width]`
    pub x: Vec<f64>,
    /// `[rank, width]`
    pub a: Vec<f64>,
    /// `[features, rank]`
    pub b: Vec<f64>,
}

fn product(m: usize, n: usize, k: usize, trans: (bool, bool), left: &[f64], right: &[f64]) -> Vec<f64> {
    matmul(Layout { m, n, k, batch: 1, trans_a: trans.0, trans_b: trans.1 }, left, right)
}

/// `W + scale B A`: the merged weight `[features, width]`.
pub fn merged(sizes: Sizes, w: &[f64], a: &[f64], b: &[f64], scale: f64) -> Vec<f64> {
    let delta = product(sizes.features, sizes.width, sizes.rank, (false, false), b, a);
    w.iter().zip(delta).map(|(w, delta)| w + scale * delta).collect()
}

/// The layer's output `[rows, features]`, computed with the merged weight.
pub fn forward(sizes: Sizes, x: &[f64], w: &[f64], a: &[f64], b: &[f64], scale: f64) -> Vec<f64> {
    product(sizes.rows, sizes.features, sizes.width, (false, true), x, &merged(sizes, w, a, b, scale))
}

/// The gradients for the output's gradient `grad [rows, features]`, computed from the merged weight's gradient
/// `D = grad^T x`: `dA = scale B^T D`, `dB = scale D A^T`.
pub fn backward(sizes: Sizes, x: &[f64], w: &[f64], a: &[f64], b: &[f64], scale: f64, grad: &[f64]) -> Gradients {
    let Sizes { rows, width, features, rank } = sizes;
    let whole = product(features, width, rows, (true, false), grad, x);
    let times = |values: Vec<f64>| values.into_iter().map(|value| value * scale).collect();
    Gradients {
        x: product(rows, width, features, (false, false), grad, &merged(sizes, w, a, b, scale)),
        a: times(product(rank, width, features, (true, false), b, &whole)),
        b: times(product(features, rank, width, (false, true), &whole, a)),
    }
}
