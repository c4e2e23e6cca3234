//! Confidence intervals of shares.

/// The 95 % confidence interval (Wilson 1927) of a share, from `successes` in `trials`, as (low, high); (0, 1) for no
/// trials. Unlike the mean plus or minus two deviations, it stays within 0 and 1, and is right for few trials.
pub fn wilson(successes: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    // The 97.5 % quantile of the normal distribution.
    let z = 1.959_963_984_540_054_f64;
    let (n, share) = (trials as f64, successes as f64 / trials as f64);
    let middle = share + z * z / (2.0 * n);
    let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + z * z / n;
    (((middle - reach) / whole).max(0.0), ((middle + reach) / whole).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::wilson;

    #[test]
    fn known_intervals() {
        // R: prop.test(8, 10, correct = FALSE), and for 0 of 10.
        let close = |(a, b): (f64, f64), (c, d): (f64, f64)| assert!((a - c).abs() < 1e-4 && (b - d).abs() < 1e-4);
        close(wilson(8, 10), (0.4902, 0.9433));
        close(wilson(0, 10), (0.0, 0.2775));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }
}
