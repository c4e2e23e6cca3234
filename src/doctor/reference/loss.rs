//! Cross entropy over token ids.

/// The target of a row that is not scored.
pub const IGNORED: u32 = u32::MAX;

/// The results of cross entropy.
pub struct CrossEntropy {
    /// Negative log-likelihood of each row, 0 if ignored.
    pub rows: Vec<f64>,
    /// Their mean over the scored rows, 0 if there are none.
    pub mean: f64,
    /// The gradient of the mean with respect to the logits.
    pub grad_logits: Vec<f64>,
}

/// Cross entropy of logits `[rows, vocabulary]`.
pub fn cross_entropy(logits: &[f64], targets: &[u32]) -> CrossEntropy {
    let vocabulary = logits.len() / targets.len();
    let scored = targets.iter().filter(|&&target| target != IGNORED).count();
    let factor = if scored == 0 { 0.0 } else { 1.0 / scored as f64 };
    let mut result = CrossEntropy { rows: Vec::new(), mean: 0.0, grad_logits: Vec::with_capacity(logits.len()) };
    for (row, &target) in logits.chunks_exact(vocabulary).zip(targets) {
        if target == IGNORED {
            result.rows.push(0.0);
            result.grad_logits.extend(std::iter::repeat_n(0.0, vocabulary));
            continue;
        }
        let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = greatest + row.iter().map(|x| (x - greatest).exp()).sum::<f64>().ln();
        result.rows.push(lse - row[target as usize]);
        let hit = |id: usize| if id == target as usize { 1.0 } else { 0.0 };
        result.grad_logits.extend(row.iter().enumerate().map(|(id, x)| ((x - lse).exp() - hit(id)) * factor));
    }
    result.mean = result.rows.iter().sum::<f64>() * factor;
    result
}
