//! Human preferences as texts to compare, and the held-out part of them.

use std::collections::HashMap;

use super::{
    Objective,
    reader::{Reader, Text},
};
use crate::{
    Error, Result,
    feedback::{BestOf, LeftOut, Preference, Prompt, RatingSource, Samples, Scored, Tally, Verdict},
    text::{conversations::Mistake, packing::shuffled, tokenizer::Hasher},
};

/// The random stream that chooses the held-out prompts.
const HELD_OUT: u64 = u64::from_le_bytes(*b"rwd held");

/// The human judgement of the texts of a [`Comparison`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Label {
    /// The text with this index, from 0, is the best.
    Best(usize),
    /// The only text has this score.
    Score(f64),
}

/// Answers to one prompt that were judged together.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The prompt's identifying number.
    pub prompt: u32,
    /// Prompt and answer as tokens, for each answer.
    pub texts: Vec<Vec<u32>>,
    /// The human judgement.
    pub label: Label,
}

/// What a reward model learns from.
#[derive(Clone, Debug)]
pub struct Data {
    /// The kind of judgement that is learned from.
    pub objective: Objective,
    /// All comparisons that can be learned from.
    pub comparisons: Vec<Comparison>,
    /// Number of distinct prompts.
    pub prompts: usize,
    /// Number of texts that lost tokens at their front.
    pub truncated: usize,
    /// Ratings that gave no sample for this objective.
    pub left_out: Tally<LeftOut>,
    /// Samples that could not be read.
    pub mistakes: Tally<Mistake>,
}

/// The most common kind of rating; of equally common kinds, rankings come first, then choices.
fn commonest(ratings: &dyn RatingSource) -> Result<Objective> {
    let mut counts = [0u64; 3];
    ratings.each(&mut |stored| {
        match stored.rating.as_ref().map(|rating| rating.verdict()) {
            Ok(Verdict::Ranking(_)) => counts[0] += 1,
            Ok(Verdict::Best(_)) => counts[1] += 1,
            Ok(Verdict::Scores(_)) => counts[2] += 1,
            _ => {}
        }
        Ok(())
    })?;
    let most = counts.iter().max();
    let objectives = [Objective::Pairs, Objective::Best, Objective::Scores];
    let found = objectives.into_iter().zip(&counts).find(|(_, count)| Some(*count) == most);
    Ok(found.map_or(Objective::Pairs, |(objective, _)| objective))
}

impl Data {
    /// Encodes the `ratings` for `objective`, or for the most common kind of rating. `progress` is called with the
    /// number of samples done and the total.
    ///
    /// # Errors
    /// [`Error::Data`] with every reason if nothing is left, or if the database cannot be read.
    pub fn load(
        ratings: &dyn RatingSource,
        objective: Option<Objective>,
        reader: &Reader,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let objective = objective.map_or_else(|| commonest(ratings), Ok)?;
        let (samples, left_out) = samples(ratings, objective)?;
        let (comparisons, mistakes) = (Vec::with_capacity(samples.len()), Tally::default());
        let mut data = Self { objective, comparisons, prompts: 0, truncated: 0, left_out, mistakes };
        let mut prompts: HashMap<String, u32> = HashMap::new();
        let all = samples.len();
        for (index, (prompt, answers, label)) in samples.into_iter().enumerate() {
            progress(index, all);
            let read = |answer: &String| reader.read(prompt.messages(), answer);
            match answers.iter().map(read).collect::<Result<Vec<Text>, _>>() {
                Ok(texts) => {
                    let next = prompts.len() as u32;
                    let prompt = *prompts.entry(prompt.to_json().to_string()).or_insert(next);
                    data.truncated += texts.iter().filter(|text| text.dropped > 0).count();
                    let texts = texts.into_iter().map(|text| text.ids).collect();
                    data.comparisons.push(Comparison { prompt, texts, label });
                }
                Err((mistake, words)) => data.mistakes.add(mistake, index as u64 + 1, words),
            }
        }
        data.prompts = prompts.len();
        if data.comparisons.is_empty() {
            let kind = match objective {
                Objective::Pairs => "pairs",
                Objective::Best => "best answers",
                Objective::Scores => "scores",
            };
            let reason = format!("no {kind} to learn from; `wgpt rate` and `wgpt feedback import` collect them");
            let all: Vec<_> = std::iter::once(reason).chain(data.remarks()).collect();
            return Err(Error::data(ratings.path(), all.join("\n")));
        }
        Ok(data)
    }

    /// What happened to the ratings that are not used as they stand, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.left_out.lines("rating");
        remarks.extend(self.mistakes.lines("sample"));
        if self.truncated > 0 {
            remarks.push(format!("{:>7}  texts over the context lost the front of their prompt", self.truncated));
        }
        remarks
    }

    /// Number of tokens in the longest text.
    pub fn longest(&self) -> usize {
        self.comparisons.iter().flat_map(|comparison| &comparison.texts).map(Vec::len).max().unwrap_or(0)
    }

    /// A hash of everything that is learned from.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Hasher::default();
        for Comparison { prompt, texts, label } in &self.comparisons {
            hasher.add(&prompt.to_le_bytes());
            texts.iter().for_each(|text| hasher.add(bytemuck::cast_slice(text)));
            hasher.add(&match label {
                Label::Best(best) => (*best as u64).to_le_bytes(),
                Label::Score(score) => score.to_le_bytes(),
            });
        }
        hasher.finish()
    }
}

/// Splits the comparisons into indices to learn from and held-out indices: all comparisons of a share of the prompts,
/// chosen by `seed`, so that no prompt is on both sides. At least one prompt is held out if any is asked for, and at
/// most all but one.
pub fn split(comparisons: &[Comparison], fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let count = comparisons.iter().map(|comparison| comparison.prompt as usize + 1).max().unwrap_or(0);
    let wanted = if fraction > 0.0 { ((count as f64 * fraction).round() as usize).max(1) } else { 0 };
    let mut held = vec![false; count];
    for prompt in
        shuffled((0..count as u32).collect(), seed, HELD_OUT, 0).into_iter().take(wanted.min(count.max(1) - 1))
    {
        held[prompt as usize] = true;
    }
    (0..comparisons.len() as u32).partition(|index| !held[comparisons[*index as usize].prompt as usize])
}

type Sample = (Prompt, Vec<String>, Label);

fn samples(ratings: &dyn RatingSource, objective: Objective) -> Result<(Vec<Sample>, Tally<LeftOut>)> {
    Ok(match objective {
        Objective::Pairs => {
            let Samples { samples, left_out } = ratings.preferences()?;
            let sample = |Preference { prompt, chosen, rejected }| (prompt, vec![chosen, rejected], Label::Best(0));
            (samples.into_iter().map(sample).collect(), left_out)
        }
        Objective::Best => {
            let Samples { samples, left_out } = ratings.best_of()?;
            let sample = |BestOf { prompt, answers, best }| (prompt, answers, Label::Best(best));
            (samples.into_iter().map(sample).collect(), left_out)
        }
        Objective::Scores => {
            let Samples { samples, left_out } = ratings.scored()?;
            let sample = |Scored { prompt, answer, score }| (prompt, vec![answer], Label::Score(score));
            (samples.into_iter().map(sample).collect(), left_out)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_prompt_is_on_both_sides() {
        let of = |prompt| Comparison { prompt, texts: vec![vec![1], vec![2]], label: Label::Best(0) };
        let comparisons: Vec<_> = (0..60).map(|index| of(index % 20)).collect();
        let (train, held) = split(&comparisons, 0.1, 3);
        assert_eq!((train.len(), held.len()), (54, 6));
        let prompts = |indices: &[u32]| indices.iter().map(|i| comparisons[*i as usize].prompt).collect::<Vec<_>>();
        assert!(prompts(&held).iter().all(|prompt| !prompts(&train).contains(prompt)));
        assert_eq!(split(&comparisons, 0.0, 3).1.len(), 0);
        assert_eq!(split(&comparisons[..1], 0.5, 3).1.len(), 0, "the only prompt is learned from");
        assert_ne!(split(&comparisons, 0.5, 3), split(&comparisons, 0.5, 4));
    }
}
