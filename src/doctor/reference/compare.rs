//! How far a result is from its oracle.

/// The distance of f32 values from an f64 oracle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Largest absolute difference; infinite if a value is missing, or if it or its oracle is not finite.
    pub max_error: f64,
    /// Largest difference, divided by the oracle where that is above 1: a sum of large terms cannot be closer to it than
    /// f32's resolution at its size.
    pub scaled: f64,
    /// Mean square difference divided by the mean square of the oracle; 0 if the oracle is zero everywhere and the
    /// values are within 1e-7, because such an oracle has no scale to normalise by.
    pub normalised: f64,
    /// The first element outside `atol + rtol * |oracle|`: index, value, oracle.
    pub worst: Option<(usize, f64, f64)>,
}

/// Compares element by element. A number that is not finite never passes, neither as a value nor as an oracle: an oracle
/// that overflows proves nothing.
pub fn compare(actual: &[f32], oracle: &[f64], atol: f64, rtol: f64) -> Comparison {
    if actual.len() != oracle.len() {
        let worst = Some((actual.len().min(oracle.len()), f64::NAN, f64::NAN));
        return Comparison { max_error: f64::INFINITY, scaled: f64::INFINITY, normalised: f64::INFINITY, worst };
    }
    let (mut max_error, mut scaled, mut squares, mut size, mut worst) = (0.0f64, 0.0f64, 0.0, 0.0, None);
    for (index, (&value, &expected)) in actual.iter().zip(oracle).enumerate() {
        let value = f64::from(value);
        let finite = value.is_finite() && expected.is_finite();
        let error = if finite { (value - expected).abs() } else { f64::INFINITY };
        max_error = max_error.max(error);
        scaled = scaled.max(if finite { error / expected.abs().max(1.0) } else { f64::INFINITY });
        squares += error * error;
        size += expected * expected;
        if (!finite || error > atol + rtol * expected.abs()) && worst.is_none() {
            worst = Some((index, value, expected));
        }
    }
    let normalised = if size == 0.0 && max_error <= 1e-7 { 0.0 } else { squares / size.max(1e-30) };
    Comparison { max_error, scaled, normalised, worst }
}

impl Comparison {
    /// [`Comparison::passes_within`] the normalised error that f32 allows.
    pub fn passes(&self) -> bool {
        self.passes_within(1e-7)
    }

    /// Whether every element is within its tolerance, and the whole within the normalised tolerance or within 1e-7.
    pub fn passes_within(&self, normalised: f64) -> bool {
        // If terms of order one cancel (softmax's gradient in saturated rows), even correct f32 arithmetic has a large
        // normalised error, so whatever is within f32's own resolution passes.
        self.worst.is_none() && (self.normalised <= normalised || self.max_error <= 1e-7)
    }
}
