//! Test data that no transposition, shift or swap maps onto itself, and assertions on results.

use wgpt::{doctor::reference::compare::compare, random};

/// Values in -1..1.5, a function of seed and index.
pub fn data(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64).map(|i| (random::uniform(seed, 0, i) * 2.5 - 1.0) as f32).collect()
}

/// The same values for an oracle.
pub fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Panics unless `|x - oracle| <= atol + rtol |oracle|` for every element and the normalised error is at most 1e-7.
pub fn assert_close(name: &str, actual: &[f32], oracle: &[f64], atol: f64, rtol: f64) {
    assert_eq!(actual.len(), oracle.len(), "{name}: the lengths differ");
    let found = compare(actual, oracle, atol, rtol);
    if let Some((index, value, expected)) = found.worst {
        panic!("{name}[{index}] is {value}, the oracle says {expected}");
    }
    assert!(found.normalised <= 1e-7, "{name}: normalised error {:e}, largest {:e}", found.normalised, found.max_error);
}

#[test]
fn comparisons_reject_what_they_must() {
    let passes = |actual: &[f32], oracle: &[f64]| compare(actual, oracle, 1e-5, 1e-4).passes();
    assert!(passes(&[1.0, -2.0], &[1.000_05, -2.0]));
    assert!(passes(&[0.0, 1e-8], &[0.0, 0.0]), "rounding where the oracle is zero");
    assert!(passes(&[1e-7, 1e-8], &[3e-8, 1e-8]), "rounding of what cancels");
    assert!(!passes(&[0.0, 1e-6], &[0.0, 0.0]), "more than rounding where the oracle is zero");
    assert!(!passes(&[1.0, -2.01], &[1.0, -2.0]));
    assert!(!passes(&[1.0], &[1.0, 1.0]), "missing values");
    assert!(!passes(&[f32::NAN], &[1.0]));
    assert!(!passes(&[0.0, 0.0], &[f64::NAN, 0.0]), "an oracle that is not a number");
    assert!(!passes(&[f32::INFINITY], &[f64::INFINITY]), "an oracle that overflows");
    // An error is relative where the oracle is large, absolute where it is small.
    let found = compare(&[1e8 + 8.0, 0.25], &[1e8, 0.0], 1.0, 1e-4);
    assert_eq!((found.max_error, found.scaled), (8.0, 0.25));
    let worst = compare(&[0.0, 0.0], &[0.0, f64::NAN], 1e-5, 1e-4).worst;
    assert!(worst.is_some_and(|(index, ..)| index == 1), "the failure is located");
}

#[test]
#[should_panic(expected = "product[1] is 2.5, the oracle says 2")]
fn a_failed_assertion_names_the_element() {
    assert_close("product", &[1.0, 2.5, 9.0], &[1.0, 2.0, 3.0], 1e-5, 1e-4);
}

#[test]
#[should_panic(expected = "tiny: normalised error 1e0")]
fn an_assertion_sees_that_nothing_was_written_however_small_the_oracle() {
    assert_close("tiny", &[0.0, 0.0], &[9e-8, -8e-8], 1e-5, 1e-4);
}
