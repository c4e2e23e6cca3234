//! Data that no transposition, shift or swap maps onto itself.

use wgpt::random;

/// Values in -1..1.5, a function of seed and index.
pub fn data(seed: u64, len: usize) -> Vec<f64> {
    (0..len as u64).map(|i| f64::from((random::uniform(seed, 0, i) * 2.5 - 1.0) as f32)).collect()
}
