//! How much better than expected: generalised advantage estimation (Schulman et al. 2015), and GRPO's group advantages.

use super::whiten::moments;

/// What one episode's tokens were worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advantages {
    /// `A_t`, one per token.
    pub advantages: Vec<f32>,
    /// `A_t + V_t`: what the values should have been.
    pub returns: Vec<f32>,
}

impl Advantages {
    fn new(advantages: Vec<f64>, values: &[f32]) -> Self {
        let returns = advantages.iter().zip(values).map(|(a, v)| (a + f64::from(*v)) as f32).collect();
        Self { advantages: advantages.into_iter().map(|a| a as f32).collect(), returns }
    }
}

/// `delta_t = r_t + gamma V_(t+1) - V_t` with `V = 0` after the end. The shorter of both slices counts.
fn deltas(rewards: &[f32], values: &[f32], gamma: f64) -> Vec<f64> {
    let next = values.iter().skip(1).chain([&0.0]);
    let delta = |((reward, value), next): ((&f32, &f32), &f32)| {
        f64::from(*reward) + gamma * f64::from(*next) - f64::from(*value)
    };
    rewards.iter().zip(values).zip(next).map(delta).collect()
}

/// `A_t = delta_t + gamma lambda A_(t+1)` over one episode, from the last token backwards. PPO on texts takes gamma 1
/// and lambda 0.95. `rewards` and `values` have an element per token.
pub fn gae(rewards: &[f32], values: &[f32], gamma: f64, lambda: f64) -> Advantages {
    let mut all = deltas(rewards, values, gamma);
    let mut later = 0.0;
    for advantage in all.iter_mut().rev() {
        *advantage += gamma * lambda * later;
        later = *advantage;
    }
    Advantages::new(all, values)
}

/// [`gae`] as a scan by doubling (Hillis and Steele 1986): after the round of step s each element is the discounted sum
/// of the 2s deltas from it on. Logarithmically many rounds whose elements do not depend on each other: the form for a
/// GPU.
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

/// GRPO's advantage of each answer to one question: `(r - mean) / (std + 1e-4)`, the deviation divided by n - 1 (as in
/// TRL). `None` when all rewards are equal (or there are fewer than two): such a group teaches nothing and is to be
/// skipped.
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
}
