//! Scores of texts and the KL penalty as one reward per token.

/// `r_t = -beta (log pi - log ref)`, and the score on top of the last token's; the score counts within `-clip..clip`
/// (10 as a rule). The slices are one episode's counted tokens; an empty episode gets nothing.
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

#[cfg(test)]
mod tests {
    use super::{episode_kl, token_rewards};

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
}
