//! Exchanges a batch of episodes that several ranks sampled.

use std::ops::Range;

use super::{
    learner::{Episode, Rollout},
    prompts::Prompt,
};
use crate::{Error, Result, infer::batch::Answer, parallel::Group};

/// This rank's share of a batch: whole groups of answers to one prompt.
pub fn share(group: &Group, batch: usize, answers: usize) -> Range<usize> {
    let share = group.share(batch / answers);
    share.start * answers..share.end * answers
}

/// All ranks' episodes with their scores and rollouts, in the order of `prompts`; each rank passes its own.
///
/// # Errors
/// [`Error::Rank`]; [`Error::Exchange`] if the received data is not what a rank sends.
pub fn gather(
    group: &Group,
    prompts: Vec<Prompt>,
    episodes: Vec<Episode>,
    scores: Vec<f32>,
    rollout: Vec<Rollout>,
) -> Result<(Vec<Episode>, Vec<f32>, Vec<Rollout>)> {
    if group.size() == 1 {
        return Ok((episodes, scores, rollout));
    }
    let own: Vec<u32> = episodes
        .iter()
        .zip(&scores)
        .zip(&rollout)
        .flat_map(|((e, score), rollout)| words(e, *score, rollout))
        .collect();
    let words = group.gather_numbers(&own).wait()?.concat();
    let mut reader = Reader(&words);
    let (mut episodes, mut scores, mut all_seen) = (Vec::new(), Vec::new(), Vec::new());
    for prompt in prompts {
        let (answer, score, rollout) = reader.episode().ok_or_else(|| {
            Error::Exchange("fewer episodes came than a batch has; start all ranks with the same command".to_string())
        })?;
        episodes.push(Episode { prompt, answer });
        scores.push(score);
        all_seen.push(rollout);
    }
    Ok((episodes, scores, all_seen))
}

/// Encodes an episode without its prompt, which follows from its number, as 32-bit words; each column is preceded by
/// its length.
fn words(Episode { answer, .. }: &Episode, score: f32, rollout: &Rollout) -> Vec<u32> {
    let mut words = vec![score.to_bits(), u32::from(answer.stopped), answer.tokens.len() as u32];
    words.extend(&answer.tokens);
    for column in [&answer.logprobs, &rollout.logprobs, &rollout.reference, &rollout.values, &rollout.entropies] {
        words.push(column.len() as u32);
        words.extend(column.iter().map(|number| number.to_bits()));
    }
    words
}

struct Reader<'a>(&'a [u32]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u32]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn column(&mut self) -> Option<Vec<f32>> {
        let count = self.take(1)?[0] as usize;
        Some(self.take(count)?.iter().map(|bits| f32::from_bits(*bits)).collect())
    }

    fn episode(&mut self) -> Option<(Answer, f32, Rollout)> {
        let head = self.take(3)?;
        let (score, stopped) = (f32::from_bits(head[0]), head[1] != 0);
        let tokens = self.take(head[2] as usize)?.to_vec();
        let answer = Answer { tokens, logprobs: self.column()?, stopped };
        let (logprobs, reference) = (self.column()?, self.column()?);
        let (values, entropies) = (self.column()?, self.column()?);
        Some((answer, score, Rollout { logprobs, reference, values, entropies }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn episodes_come_back_as_they_went() {
        let answer = Answer { tokens: vec![3, 1, 4], logprobs: vec![-1.5, -0.1, -2.0], stopped: true };
        let rollout =
            Rollout { logprobs: vec![-1.0, f32::MIN_POSITIVE, 3.0], values: Vec::new(), ..Rollout::default() };
        let episode = Episode { prompt: Prompt::default(), answer: answer.clone() };
        let words = words(&episode, 0.25, &rollout);
        let mut reader = Reader(&words);
        assert_eq!(reader.episode(), Some((answer, 0.25, rollout)));
        assert_eq!(reader.episode(), None);
        assert_eq!(share(&Group::alone(), 8, 4), 0..8);
    }
}
