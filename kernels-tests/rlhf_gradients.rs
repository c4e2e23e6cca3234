//! Verifies the gradients of the RLHF losses with central finite differences. Uses no GPU.

use wgpt::doctor::reference::{loss::IGNORED, rlhf as oracle};

use crate::gradients::{data, proves};

#[test]
fn token_logprobs() {
    let (logits, targets, g) = (data(50, 4 * 9), [3, IGNORED, 8, 0], data(51, 4));
    let all = |x: &[f64]| oracle::token_logprobs(x, &targets, 0.7, &g);
    proves("token logprobs", &logits, &g, |x| all(x).logprobs, &all(&logits).grad_logits);
    // The entropy of equal logits is ln 9 nats whatever the temperature; that of a certain token is 0.
    let equal = oracle::token_logprobs(&[0.3; 9], &[4], 1.7, &[1.0]);
    assert!((equal.entropies[0] - 9f64.ln()).abs() < 1e-12 && (equal.logprobs[0] + 9f64.ln()).abs() < 1e-12);
    let mut certain = [0.0; 9];
    certain[2] = 200.0;
    assert!(oracle::token_logprobs(&certain, &[2], 1.0, &[1.0]).entropies[0] < 1e-12);
    // A temperature is a scale of the logits.
    let scaled: Vec<f64> = logits.iter().map(|x| x / 0.7).collect();
    assert_eq!(oracle::token_logprobs(&scaled, &targets, 1.0, &g).entropies, all(&logits).entropies);
}

#[test]
fn policy() {
    let (logprobs, old, advantages, mut reference) = (data(52, 15), data(53, 15), data(54, 15), data(55, 15));
    let weights: Vec<f64> = (0..15).map(|i| if i % 4 == 1 { 0.0 } else { 0.1 }).collect();
    // Also near the old ones, where nothing is clipped, and beyond 20, where the gradient is 0.
    let old: Vec<f64> = logprobs.iter().zip(&old).map(|(x, y)| x + 0.3 * y).collect();
    reference[2] = logprobs[2] - 21.0;
    for reference in [None, Some((&reference[..], 0.3))] {
        let p = oracle::Policy { old: &old, advantages: &advantages, weights: &weights, clip: 0.2, reference };
        let loss = oracle::policy(&logprobs, p);
        assert!(loss.totals[2] > 0.0 && loss.totals[2] < 1.0, "some are clipped and some are not");
        proves("policy", &logprobs, &[1.0], |x| vec![oracle::policy(x, p).totals[0]], &loss.slopes);
    }
    // Beyond 20 the ratio stays constant: the loss is large (which would drown out differences) and has no gradient.
    let p = oracle::Policy { old: &[-21.0], advantages: &[-2.0], weights: &[1.0], clip: 0.2, reference: None };
    let clamped = oracle::policy(&[0.0], p);
    assert!((clamped.totals[0] / (2.0 * 20f64.exp()) - 1.0).abs() < 1e-12 && clamped.slopes == [0.0]);
    // If the policy has not moved, the loss is minus the mean advantage, and the ratio is 1.
    let weights = [0.2; 5];
    let p = oracle::Policy {
        old: &logprobs[..5],
        advantages: &advantages[..5],
        weights: &weights,
        clip: 0.2,
        reference: None,
    };
    let fresh = oracle::policy(&logprobs[..5], p).totals;
    assert!((fresh[0] + advantages[..5].iter().sum::<f64>() / 5.0).abs() < 1e-12);
    assert!(fresh[1] == 0.0 && fresh[2] == 0.0 && (fresh[3] - 1.0).abs() < 1e-12);
}

#[test]
fn value() {
    let (values, old, returns) = (data(56, 15), data(57, 15), data(58, 15));
    let weights: Vec<f64> = (0..15).map(|i| if i % 4 == 1 { 0.0 } else { 0.1 }).collect();
    for clip in [None, Some((&old[..], 0.4))] {
        let all = |x: &[f64]| oracle::value(x, &returns, &weights, clip, 0.5);
        proves("value", &values, &[1.0], |x| vec![all(x).totals[0]], &all(&values).slopes);
    }
}

#[test]
fn pairs() {
    let (x, reference, margins) = (data(59, 14), data(60, 14), data(61, 7));
    let (reference, margins) = (Some(&reference[..]), Some(&margins[..]));
    for (reference, margins, centring) in [(None, None, 0.0), (None, margins, 0.1), (reference, None, 0.0)] {
        let how = oracle::Pairs { beta: 0.4, reference, margins, centring };
        let loss = oracle::pairs(&x, how);
        proves("pairs", &x, &[1.0], |x| vec![oracle::pairs(x, how).totals[0]], &loss.slopes);
    }
    let same = oracle::Pairs { beta: 0.1, reference: Some(&x), margins: None, centring: 0.0 };
    assert!((oracle::pairs(&x, same).totals[0] - 2f64.ln()).abs() < 1e-12, "the policy is the reference");
}

#[test]
fn row_sums() {
    let (x, weights, g) = (data(62, 15), data(63, 15), data(64, 3));
    let sums = |x: &[f64]| oracle::weighted_row_sum(x, &weights, 5);
    proves("row sums", &x, &g, sums, &oracle::scale_rows(&weights, &g, None));
}
