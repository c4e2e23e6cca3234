//! From scores to advantages: combines scores and the KL penalty into one reward per token, whitens values, and
//! computes how much better than expected each token was, by generalised advantage estimation (Schulman et al. 2015) or
//! as GRPO's group advantages.

/// `r_t = -beta (log pi - log ref)`, plus the score at the last token; the score is clipped to `-clip..clip` (usually
/// 10). The slices are one episode's counted tokens; an empty episode gets no rewards.
pub fn token_rewards(logprobs: &[f32], reference: &[f32], score: f32, beta: f64, clip: f32) -> Vec<f32> {
    let penalty = |(logprob, reference): (&f32, &f32)| (-beta * (f64::from(*logprob) - f64::from(*reference))) as f32;
    let mut rewards: Vec<f32> = logprobs.iter().zip(reference).map(penalty).collect();
    if let Some(last) = rewards.last_mut() {
        *last += score.clamp(-clip.abs(), clip.abs());
    }
    rewards
}

/// `sum over t of (log pi - log ref)`: one episode's estimate of KL(policy, reference) in nats.
pub fn episode_kl(logprobs: &[f32], reference: &[f32]) -> f64 {
    logprobs.iter().zip(reference).map(|(logprob, reference)| f64::from(*logprob) - f64::from(*reference)).sum()
}

/// Added to the variance, so that equal values do not divide by zero.
const EPSILON: f64 = 1e-8;

/// Mean and biased variance (divided by n, as in `tf.nn.moments`); zeros for an empty slice.
pub fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    (mean, values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count)
}

/// `(x - mean) / sqrt(variance + 1e-8)` over all values together; the mean is added back unless `shift_mean`.
///
/// lm-human-preferences whitens a whole batch `[episodes, tokens]` in this way: rewards without shifting the mean,
/// advantages with shifting it. Pass only the counted tokens.
pub fn whiten(values: &[f32], shift_mean: bool) -> Vec<f32> {
    let (mean, variance) = moments(values);
    let scale = (variance + EPSILON).sqrt().recip();
    let center = if shift_mean { 0.0 } else { mean };
    values.iter().map(|value| ((f64::from(*value) - mean) * scale + center) as f32).collect()
}

/// How good one episode's tokens were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advantages {
    /// `A_t`, one per token.
    pub advantages: Vec<f32>,
    /// `A_t + V_t`: the targets of the values.
    pub returns: Vec<f32>,
}

impl Advantages {
    fn new(advantages: Vec<f64>, values: &[f32]) -> Self {
        let returns = advantages.iter().zip(values).map(|(a, v)| (a + f64::from(*v)) as f32).collect();
        Self { advantages: advantages.into_iter().map(|a| a as f32).collect(), returns }
    }
}

/// `delta_t = r_t + gamma V_(t+1) - V_t` with `V = 0` after the end, up to the end of the shorter slice.
fn deltas(rewards: &[f32], values: &[f32], gamma: f64) -> Vec<f64> {
    let next = values.iter().skip(1).chain([&0.0]);
    let delta = |((reward, value), next): ((&f32, &f32), &f32)| {
        f64::from(*reward) + gamma * f64::from(*next) - f64::from(*value)
    };
    rewards.iter().zip(values).zip(next).map(delta).collect()
}

/// `A_t = delta_t + gamma lambda A_(t+1)` over one episode, from the last token backwards. PPO on texts uses gamma 1
/// and lambda 0.95. `rewards` and `values` have one element per token.
pub fn gae(rewards: &[f32], values: &[f32], gamma: f64, lambda: f64) -> Advantages {
    let mut all = deltas(rewards, values, gamma);
    let mut later = 0.0;
    for advantage in all.iter_mut().rev() {
        *advantage += gamma * lambda * later;
        later = *advantage;
    }
    Advantages::new(all, values)
}

/// [`gae`] as a scan by doubling (Hillis and Steele 1986): after the round of step s, each element is the discounted
/// sum of the 2s deltas from it on. It takes logarithmically many rounds, whose elements do not depend on each other:
/// the form for a GPU.
pub fn gae_scan(rewards: &[f32], values: &[f32], gamma: f64, lambda: f64) -> Advantages {
    let mut all = deltas(rewards, values, gamma);
    let (mut step, mut decay) = (1, gamma * lambda);
    while step < all.len() {
        // In ascending order, element t + step still holds the last round's sum.
        for t in 0..all.len() - step {
            all[t] += decay * all[t + step];
        }
        step *= 2;
        decay *= decay;
    }
    Advantages::new(all, values)
}

/// GRPO's advantage of each answer to one question: `(r - mean) / (std + 1e-4)`, with a deviation whose sum of
/// squares is divided by n - 1 (as in TRL). `None` if all rewards are equal (or there are fewer than two): such a group
/// teaches nothing and should be skipped.
pub fn group_advantages(rewards: &[f32]) -> Option<Vec<f32>> {
    if rewards.iter().all(|reward| *reward == rewards[0]) {
        return None;
    }
    let (mean, variance) = moments(rewards);
    let count = rewards.len() as f64;
    let deviation = (variance * count / (count - 1.0)).sqrt() + 1e-4;
    Some(rewards.iter().map(|reward| ((f64::from(*reward) - mean) / deviation) as f32).collect())
}

/// `1 - var(returns - values) / var(returns)`: 1 for perfect values, 0 for constant ones; 0 when the returns do not
/// vary.
pub fn explained_variance(values: &[f32], returns: &[f32]) -> f32 {
    let errors: Vec<f32> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
    let (_, variance) = moments(returns);
    if variance == 0.0 { 0.0 } else { (1.0 - moments(&errors).1 / variance) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn data(stream: u64, len: u64) -> Vec<f32> {
        (0..len).map(|i| random::normal(3, stream, i)).collect()
    }

    #[test]
    fn loop_and_scan_agree() {
        for episode in 0..20 {
            let (rewards, values) = (data(2 * episode, 40), data(2 * episode + 1, 40));
            let (by_loop, by_scan) = (gae(&rewards, &values, 1.0, 0.95), gae_scan(&rewards, &values, 1.0, 0.95));
            let pairs = by_loop.advantages.iter().zip(&by_scan.advantages);
            for (a, b) in pairs.chain(by_loop.returns.iter().zip(&by_scan.returns)) {
                assert!((a - b).abs() < 1e-6 && a.is_finite(), "{a} {b}");
            }
        }
        for len in [0, 1, 2, 3, 5] {
            let (rewards, values) = (data(90, len), data(91, len));
            let (by_loop, by_scan) = (gae(&rewards, &values, 0.9, 0.5), gae_scan(&rewards, &values, 0.9, 0.5));
            assert_eq!(by_loop.advantages.len(), len as usize);
            assert!(by_loop.advantages.iter().zip(&by_scan.advantages).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    /// By hand: lambda 1 and gamma 1 give the sum of the rewards to come minus the value; lambda 0 gives the deltas.
    #[test]
    fn extremes_of_lambda() {
        let (rewards, values) = ([1.0, -2.0, 4.0], [0.5, 0.25, -1.0]);
        let all = gae(&rewards, &values, 1.0, 1.0);
        assert_eq!(all.advantages, [2.5, 1.75, 5.0]);
        assert_eq!(all.returns, [3.0, 2.0, 4.0]);
        assert_eq!(gae(&rewards, &values, 1.0, 0.0).advantages, [0.75, -3.25, 5.0]);
    }

    #[test]
    fn groups() {
        let advantages = group_advantages(&[1.0, 0.0, 0.0, 1.0]).expect("they differ");
        // Deviation sqrt(1/3).
        assert!((advantages[0] - 0.5 / (1f32 / 3.0).sqrt()).abs() < 2e-4 && advantages[0] == -advantages[1]);
        assert_eq!(group_advantages(&[0.7; 8]), None);
        assert_eq!(group_advantages(&[0.7]), None);
        assert_eq!(group_advantages(&[]), None);
    }

    #[test]
    fn explained_variance_of_good_and_useless_values() {
        assert_eq!(explained_variance(&[1.0, 2.0, 5.0], &[1.0, 2.0, 5.0]), 1.0);
        assert_eq!(explained_variance(&[2.0; 3], &[1.0, 2.0, 5.0]), 0.0);
        assert_eq!(explained_variance(&[1.0, 2.0], &[3.0, 3.0]), 0.0);
    }

    #[test]
    fn the_last_token_has_the_score() {
        let (logprobs, reference) = ([-1.0, -2.5, -0.5], [-1.5, -2.0, -0.25]);
        assert_eq!(token_rewards(&logprobs, &reference, 3.0, 0.5, 10.0), [-0.25, 0.25, 3.125]);
        assert_eq!(token_rewards(&logprobs, &reference, -30.0, 0.5, 10.0)[2], -9.875);
        assert!(token_rewards(&[], &[], 1.0, 0.5, 10.0).is_empty());
        assert_eq!(episode_kl(&logprobs, &reference), -0.25);
        // With beta 1 and no score the rewards of an episode add up to minus its KL.
        assert_eq!(token_rewards(&logprobs, &reference, 0.0, 1.0, 10.0).iter().sum::<f32>(), 0.25);
    }

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
