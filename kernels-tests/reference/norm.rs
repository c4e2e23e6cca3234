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

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` by row; without `center` RMSNorm.
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

/// Softmax by row.
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
