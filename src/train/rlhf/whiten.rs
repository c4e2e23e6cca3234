//! Values with variance 1.

/// Added to the variance, so that equal values do not divide by zero.
const EPSILON: f64 = 1e-8;

/// Mean and biased variance (divided by n, as `tf.nn.moments`); zeros of nothing.
pub fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    (mean, values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count)
}

/// `(x - mean) / sqrt(variance + 1e-8)` over all values together, with the mean added again unless `shift_mean`.
///
/// lm-human-preferences whitens a whole batch `[episodes, tokens]` so: rewards without shifting the mean, advantages
/// with. Pass the counted tokens only.
pub fn whiten(values: &[f32], shift_mean: bool) -> Vec<f32> {
    let (mean, variance) = moments(values);
    let scale = (variance + EPSILON).sqrt().recip();
    let center = if shift_mean { 0.0 } else { mean };
    values.iter().map(|value| ((f64::from(*value) - mean) * scale + center) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::{moments, whiten};

    /// The published values are those of lm-human-preferences' function on the 3 x 3 table 1.2, 1.3 .. 2.0: mean 1.6,
    /// biased variance 0.0666667, over both axes at once. (Every second input alone, 1.2, 1.4 .. 2.0, would begin with
    /// 0.1857865.)
    #[test]
    fn equals_the_published_values() {
        let table: Vec<f32> = (12..=20).map(|tenth| tenth as f32 / 10.0).collect();
        let expected = [0.050_807_1, 0.438_105_1, 0.825_403_4, 1.212_701_8, 1.600_000_4];
        for (actual, expected) in whiten(&table, false).iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-6, "{actual} {expected}");
        }
    }

    #[test]
    fn shifted_values_have_mean_0_and_variance_1() {
        let values: Vec<f32> = (0..37).map(|i| (i * i % 11) as f32 * 0.3 - 7.0).collect();
        let (mean, variance) = moments(&whiten(&values, true));
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "{mean} {variance}");
        assert_eq!(whiten(&[3.0; 5], true), [0.0; 5], "equal values are no NaN");
        assert!(whiten(&[], false).is_empty());
    }
}
