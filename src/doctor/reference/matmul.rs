//! Matrix products and what is fused into them.

use super::pointwise::gelu;

/// The layout of a product `out[batch, m, n] = A . B`.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of a dot product.
    pub k: usize,
    /// Independent products.
    pub batch: usize,
    /// A is `[k, m]`.
    pub trans_a: bool,
    /// B is `[n, k]`.
    pub trans_b: bool,
}

/// `A . B` for each batch.
pub fn matmul(layout: Layout, a: &[f64], b: &[f64]) -> Vec<f64> {
    let Layout { m, n, k, batch, trans_a, trans_b } = layout;
    let mut out = Vec::with_capacity(batch * m * n);
    for z in 0..batch {
        let (a, b) = (&a[z * m * k..][..m * k], &b[z * k * n..][..k * n]);
        for row in 0..m {
            for column in 0..n {
                let left = |i: usize| if trans_a { a[i * m + row] } else { a[row * k + i] };
                let right = |i: usize| if trans_b { b[column * k + i] } else { b[i * n + column] };
                out.push((0..k).map(|i| left(i) * right(i)).sum());
            }
        }
    }
    out
}

/// `before + [residual +] [gelu](sums [+ bias])` for sums with `columns` columns; also the values before GELU.
pub fn epilogue(
    sums: &[f64],
    columns: usize,
    bias: Option<&[f64]>,
    with_gelu: bool,
    residual: Option<&[f64]>,
    before: Option<&[f64]>,
) -> (Vec<f64>, Vec<f64>) {
    let plain: Vec<f64> =
        sums.iter().enumerate().map(|(i, x)| x + bias.map_or(0.0, |bias| bias[i % columns])).collect();
    let at = |values: Option<&[f64]>, i: usize| values.map_or(0.0, |values| values[i]);
    let finish = |(i, &x): (usize, &f64)| at(before, i) + at(residual, i) + if with_gelu { gelu(x) } else { x };
    (plain.iter().enumerate().map(finish).collect(), plain)
}
