//! Losses over one number per token or per text.

use super::loss::IGNORED;

/// Log-probabilities of tokens, entropies, and the gradient.
pub struct TokenLogprobs {
    /// Log-probability of each row's target, 0 if ignored.
    pub logprobs: Vec<f64>,
    /// Entropy of each row's distribution, 0 if the target is ignored.
    pub entropies: Vec<f64>,
    /// The gradient with respect to the logits, given that of the log-probabilities.
    pub grad_logits: Vec<f64>,
}

/// Log-probabilities and entropies for logits `[rows, vocabulary]` at a temperature.
pub fn token_logprobs(logits: &[f64], targets: &[u32], temperature: f64, grad: &[f64]) -> TokenLogprobs {
    let vocabulary = logits.len() / targets.len();
    let mut result = TokenLogprobs { logprobs: Vec::new(), entropies: Vec::new(), grad_logits: Vec::new() };
    for ((row, &target), grad) in logits.chunks_exact(vocabulary).zip(targets).zip(grad) {
        if target == IGNORED {
            result.logprobs.push(0.0);
            result.entropies.push(0.0);
            result.grad_logits.extend(std::iter::repeat_n(0.0, vocabulary));
            continue;
        }
        let x: Vec<f64> = row.iter().map(|logit| logit / temperature).collect();
        let greatest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = greatest + x.iter().map(|x| (x - greatest).exp()).sum::<f64>().ln();
        result.logprobs.push(x[target as usize] - lse);
        result.entropies.push(-x.iter().map(|x| (x - lse).exp() * (x - lse)).sum::<f64>());
        let hit = |id: usize| if id == target as usize { 1.0 } else { 0.0 };
        result.grad_logits.extend(x.iter().enumerate().map(|(id, x)| grad * (hit(id) - (x - lse).exp()) / temperature));
    }
    result
}

/// A loss, the sums reported with it, and its gradient.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// Weighted sums over the rows: the loss first.
    pub totals: Vec<f64>,
    /// The gradient of the loss.
    pub slopes: Vec<f64>,
}

impl Loss {
    fn add(&mut self, weight: f64, terms: &[f64]) {
        self.totals.resize(terms.len(), 0.0);
        self.totals.iter_mut().zip(terms).for_each(|(total, term)| *total += weight * term);
    }
}

/// The vectors of a policy loss, one element per token.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// Log-probabilities when the tokens were sampled.
    pub old: &'a [f64],
    /// Advantages.
    pub advantages: &'a [f64],
    /// Weights; rows with weight 0 are not read.
    pub weights: &'a [f64],
    /// Ratios count only within 1 - clip..1 + clip.
    pub clip: f64,
    /// The reference's log-probabilities and the coefficient of the KL term.
    pub reference: Option<(&'a [f64], f64)>,
}

/// Totals: loss, half the squared log-ratio, clip fraction, ratio, KL to the reference.
pub fn policy(logprobs: &[f64], p: Policy<'_>) -> Loss {
    let mut loss = Loss { totals: vec![0.0; 5], slopes: vec![0.0; logprobs.len()] };
    for (i, &weight) in p.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
        let (log_ratio, a) = (logprobs[i] - p.old[i], p.advantages[i]);
        let clamped = log_ratio.clamp(-20.0, 20.0);
        let ratio = clamped.exp();
        let (plain, clipped) = (-a * ratio, -a * ratio.clamp(1.0 - p.clip, 1.0 + p.clip));
        let mut slope = if clipped > plain || log_ratio != clamped { 0.0 } else { -a * ratio };
        let (mut kl, mut beta) = (0.0, 0.0);
        if let Some((reference, coefficient)) = p.reference {
            let d = (reference[i] - logprobs[i]).clamp(-20.0, 20.0);
            (kl, beta) = (d.exp_m1() - d, coefficient);
            slope -= if d == reference[i] - logprobs[i] { beta * d.exp_m1() } else { 0.0 };
        }
        let clips = if clipped > plain { 1.0 } else { 0.0 };
        loss.add(weight, &[plain.max(clipped) + beta * kl, 0.5 * clamped * clamped, clips, ratio, kl]);
        loss.slopes[i] = weight * slope;
    }
    loss
}

/// Totals: the loss `factor max((v - R)^2, (clip(v, v_old - c, v_old + c) - R)^2)`, clip fraction, squared error, value.
pub fn value(values: &[f64], returns: &[f64], weights: &[f64], clip: Option<(&[f64], f64)>, factor: f64) -> Loss {
    let mut loss = Loss { totals: vec![0.0; 4], slopes: vec![0.0; values.len()] };
    for (i, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
        let plain = (values[i] - returns[i]).powi(2);
        let bounded = clip.map_or(values[i], |(old, c)| values[i].clamp(old[i] - c, old[i] + c));
        let clipped = (bounded - returns[i]).powi(2);
        let clips = if clipped > plain { 1.0 } else { 0.0 };
        loss.add(weight, &[factor * plain.max(clipped), clips, plain, values[i]]);
        loss.slopes[i] = weight * factor * 2.0 * (values[i] - returns[i]) * (1.0 - clips);
    }
    loss
}

/// How pairs are compared.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    /// Factor of the difference.
    pub beta: f64,
    /// The reference's numbers, subtracted first.
    pub reference: Option<&'a [f64]>,
    /// The minimum difference wanted for each pair.
    pub margins: Option<&'a [f64]>,
    /// Coefficient of the squared sum.
    pub centring: f64,
}

/// Means over pairs (chosen, rejected): loss, gap, accuracy, reward of the chosen, reward of the rejected.
pub fn pairs(x: &[f64], how: Pairs<'_>) -> Loss {
    let weight = 2.0 / x.len() as f64;
    let mut loss = Loss::default();
    for (i, pair) in x.chunks_exact(2).enumerate() {
        let reward = |side: usize| how.beta * (pair[side] - how.reference.map_or(0.0, |r| r[2 * i + side]));
        let gap = reward(0) - reward(1);
        let z = gap - how.margins.map_or(0.0, |margins| margins[i]);
        let (both, wrong) = (pair[0] + pair[1], 1.0 / (1.0 + z.exp()));
        let softplus = if z > 0.0 { (-z).exp().ln_1p() } else { z.exp().ln_1p() - z };
        let right = if gap > 0.0 { 1.0 } else { 0.0 };
        loss.add(weight, &[softplus + how.centring * both * both, gap, right, reward(0), reward(1)]);
        let slope = |sign: f64| weight * (-sign * how.beta * wrong + 2.0 * how.centring * both);
        loss.slopes.extend([slope(1.0), slope(-1.0)]);
    }
    loss
}

/// `sum over columns of weights * x`; elements with weight 0 are not read.
pub fn weighted_row_sum(x: &[f64], weights: &[f64], width: usize) -> Vec<f64> {
    let product = |(x, w): (&f64, &f64)| if *w == 0.0 { 0.0 } else { w * x };
    let rows = x.chunks_exact(width).zip(weights.chunks_exact(width));
    rows.map(|(x, weights)| x.iter().zip(weights).map(product).sum()).collect()
}

/// Each row times its factor, added to `before`.
pub fn scale_rows(x: &[f64], factors: &[f64], before: Option<&[f64]>) -> Vec<f64> {
    let width = x.len() / factors.len();
    x.iter().enumerate().map(|(i, x)| before.map_or(0.0, |before| before[i]) + x * factors[i / width]).collect()
}
