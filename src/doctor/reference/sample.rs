//! Choosing tokens from scores.

use super::pointwise::random_bits;

/// How to choose, with the same fields as the kernel's rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Divides the scores; 0 takes the greatest.
    pub temperature: f64,
    /// Keeps only this many of the greatest scores; 0 for all.
    pub top_k: usize,
    /// Keeps only the greatest scores that make up this share of the probability.
    pub top_p: f64,
    /// Keeps only tokens at least this probable relative to the best.
    pub min_p: f64,
}

/// For every id its log-probability and its score in the draw.
pub struct Scores {
    /// Log-probabilities over the whole vocabulary, at this temperature.
    pub logprobs: Vec<f64>,
    /// Scores, of which the greatest is chosen; `None` for ids that are not candidates.
    pub scores: Vec<Option<f64>>,
}

/// One row of scores under `rule`, with the noise of `key`.
pub fn scores(logits: &[f64], rule: Rule, key: u32) -> Scores {
    let draws = rule.temperature > 0.0;
    let temperature = if draws { rule.temperature } else { 1.0 };
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scaled: Vec<f64> = logits.iter().map(|x| (x - greatest) / temperature).collect();
    let total: f64 = scaled.iter().map(|s| s.exp()).sum();
    let logprobs = scaled.iter().map(|s| s - total.ln()).collect();
    if !draws {
        return Scores { logprobs, scores: logits.iter().copied().map(Some).collect() };
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let mut least = f64::NEG_INFINITY;
    if rule.top_k > 0 && rule.top_k < order.len() {
        least = logits[order[rule.top_k - 1]];
    }
    if rule.top_p < 1.0 {
        let kept: f64 = logits.iter().zip(&scaled).filter(|(x, _)| **x >= least).map(|(_, s)| s.exp()).sum();
        let mut mass = 0.0;
        for &id in &order {
            mass += scaled[id].exp();
            if mass >= rule.top_p * kept {
                least = least.max(logits[id]);
                break;
            }
        }
    }
    let noise = |id: usize| {
        let v = (f64::from(random_bits(key, id as u32) >> 9) + 0.5) / f64::from(1u32 << 23);
        -(-(-v).ln_1p()).ln()
    };
    let score = |id: usize| (logits[id] >= least && scaled[id].exp() >= rule.min_p).then(|| scaled[id] + noise(id));
    Scores { logprobs, scores: (0..logits.len()).map(score).collect() }
}

/// The scores, with those of `ids` made less likely.
pub fn penalise(logits: &[f64], ids: &[u32], penalty: f64) -> Vec<f64> {
    let mut penalised = logits.to_vec();
    for &id in ids.iter().filter(|&&id| id != u32::MAX) {
        let x = &mut penalised[id as usize];
        *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
    }
    penalised
}
