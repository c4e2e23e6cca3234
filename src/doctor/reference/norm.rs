//! LayerNorm, RMSNorm, softmax.

/// The gradients of a normalisation.
pub struct Gradients {
    /// With respect to the input.
    pub x: Vec<f64>,
    /// With respect to the weight.
    pub weight: Vec<f64>,
    /// With respect to the bias.
    pub bias: Vec<f64>,
}

/// Mean (0 without `center`) and 1 / sqrt(variance + epsilon) of a row.
fn stats(row: &[f64], center: bool, epsilon: f64) -> (f64, f64) {
    let count = row.len() as f64;
    let mean = if center { row.iter().sum::<f64>() / count } else { 0.0 };
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` of each row; RMSNorm without `center`.
pub fn norm(x: &[f64], weight: &[f64], bias: Option<&[f64]>, center: bool, epsilon: f64) -> Vec<f64> {
    let width = weight.len();
    let row = |row: &[f64]| {
        let (mean, rstd) = stats(row, center, epsilon);
        let value = |c: usize| (row[c] - mean) * rstd * weight[c] + bias.map_or(0.0, |bias| bias[c]);
        (0..width).map(value).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(row).collect()
}

/// The gradients of [`norm`].
pub fn norm_backward(x: &[f64], weight: &[f64], grad_out: &[f64], center: bool, epsilon: f64) -> Gradients {
    let width = weight.len();
    let mut gradients = Gradients { x: Vec::with_capacity(x.len()), weight: vec![0.0; width], bias: vec![0.0; width] };
    for (row, grad) in x.chunks_exact(width).zip(grad_out.chunks_exact(width)) {
        let (mean, rstd) = stats(row, center, epsilon);
        let h: Vec<f64> = row.iter().map(|x| (x - mean) * rstd).collect();
        let g: Vec<f64> = grad.iter().zip(weight).map(|(g, w)| g * w).collect();
        let average = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / width as f64;
        let mean_g = if center { average(&mut g.iter().copied()) } else { 0.0 };
        let mean_gh = average(&mut g.iter().zip(&h).map(|(g, h)| g * h));
        gradients.x.extend((0..width).map(|c| rstd * (g[c] - mean_g - h[c] * mean_gh)));
        for c in 0..width {
            gradients.weight[c] += grad[c] * h[c];
            gradients.bias[c] += grad[c];
        }
    }
    gradients
}

/// Softmax of each row.
pub fn softmax(x: &[f64], width: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|x| (x - greatest).exp()).sum();
        row.iter().map(|x| (x - greatest).exp() / total).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(row).collect()
}

/// The gradient of [`softmax`]'s input, from its output.
pub fn softmax_backward(y: &[f64], grad_out: &[f64], width: usize) -> Vec<f64> {
    let row = |(y, g): (&[f64], &[f64])| {
        let dot: f64 = y.iter().zip(g).map(|(y, g)| y * g).sum();
        y.iter().zip(g).map(|(y, g)| y * (g - dot)).collect::<Vec<_>>()
    };
    y.chunks_exact(width).zip(grad_out.chunks_exact(width)).flat_map(row).collect()
}

/// How the heads of a fused qkv row are normalised.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm {
    /// Number of query heads, which share one weight.
    pub query: usize,
    /// Number of key heads, which share another weight; as many value heads follow, which stay unchanged.
    pub key_value: usize,
    /// Columns per head.
    pub dim: usize,
    /// Added to the mean square.
    pub epsilon: f64,
}

impl HeadNorm {
    /// Applies `each` to every head with the index of its weight: 0 for queries, 1 for keys, `None` for values.
    fn by_head(self, len: usize, mut each: impl FnMut(std::ops::Range<usize>, Option<usize>)) {
        for row in 0..len / self.dim {
            let head = row % (self.query + 2 * self.key_value);
            let weight = [0, 1].into_iter().find(|kind| head < self.query + kind * self.key_value);
            each(row * self.dim..(row + 1) * self.dim, weight);
        }
    }
}

/// RMSNorm of every query and key head; `weights` are the weight of the queries and that of the keys.
pub fn head_norm(shape: HeadNorm, x: &[f64], weights: [&[f64]; 2]) -> Vec<f64> {
    let mut out = x.to_vec();
    shape.by_head(x.len(), |range, weight| {
        if let Some(kind) = weight {
            out[range.clone()].copy_from_slice(&norm(&x[range], weights[kind], None, false, shape.epsilon));
        }
    });
    out
}

/// The gradients of x and of the two weights in [`head_norm`].
pub fn head_norm_backward(
    shape: HeadNorm,
    x: &[f64],
    weights: [&[f64]; 2],
    grad_out: &[f64],
) -> (Vec<f64>, [Vec<f64>; 2]) {
    let mut grad_x = grad_out.to_vec();
    let mut grad_weights = [vec![0.0; shape.dim], vec![0.0; shape.dim]];
    shape.by_head(x.len(), |range, weight| {
        if let Some(kind) = weight {
            let back = norm_backward(&x[range.clone()], weights[kind], &grad_out[range.clone()], false, shape.epsilon);
            grad_x[range].copy_from_slice(&back.x);
            grad_weights[kind].iter_mut().zip(back.weight).for_each(|(sum, g)| *sum += g);
        }
    });
    (grad_x, grad_weights)
}
