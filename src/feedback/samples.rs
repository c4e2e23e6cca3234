//! What training reads: ratings as pairs, choices and scores, with counts of what was left out.

use std::{fmt, path::Path};

use super::{
    prompt::Prompt,
    rating::{Rating, Verdict},
    read,
    tally::{Mistake, Refusal, Tally},
};
use crate::Result;

/// Of two answers one is better: what a Bradley-Terry reward model and DPO learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// What was answered.
    pub prompt: Prompt,
    /// The better answer.
    pub chosen: String,
    /// The other one.
    pub rejected: String,
}

/// Of several answers one is the best: what the softmax over answers of Ziegler et al. (2019) learns from.
#[derive(Clone, Debug, PartialEq)]
pub struct BestOf {
    /// What was answered.
    pub prompt: Prompt,
    /// Two or more, no two equal, as they were shown.
    pub answers: Vec<String>,
    /// The best one, from 0.
    pub best: usize,
}

/// An answer with a finite score, on whatever scale its source has; `wgpt rate` takes 1 to 5.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// What was answered.
    pub prompt: Prompt,
    /// The answer.
    pub answer: String,
    /// Its score.
    pub score: f64,
}

/// Why a rating, or a pair of its answers, gave no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// The rater skipped.
    Skipped,
    /// Scores, where an order is wanted.
    OnlyScores,
    /// Two answers of the same rank: no pair.
    EqualRanks,
    /// Several answers share the first rank: no best one.
    NoSingleBest,
    /// A ranking or a choice, where scores are wanted.
    NoScores,
    /// Its rows in the database make no rating.
    Damaged,
    /// It has a system message, or text that looks like a turn, for which a transcript has no place.
    NoTranscript,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skipped => "skipped by the rater",
            Self::OnlyScores => "scores give no order",
            Self::EqualRanks => "two answers of equal rank",
            Self::NoSingleBest => "several answers share the first rank",
            Self::NoScores => "no scores were given",
            Self::Damaged => "damaged in the database",
            Self::NoTranscript => "a system message or the mark of a turn has no place in a transcript",
        })
    }
}

/// Samples, and what gave none; places in the tally are the ids of ratings.
#[derive(Clone, Debug)]
pub struct Samples<T> {
    /// In the order of storing.
    pub samples: Vec<T>,
    /// What was left out, and why.
    pub left_out: Tally<LeftOut>,
}

/// The pairs that the ratings of a JSONL file order, without storing them, and the lines that are no ratings; see
/// [`read::read`]. Places in the tallies are lines. `progress` hears how many bytes are read.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn preferences_of(path: &Path, progress: impl FnMut(u64)) -> Result<(Samples<Preference>, Tally<Mistake>)> {
    let (mut samples, mut left_out, mut mistakes) = (Vec::new(), Tally::default(), Tally::default());
    read::read(path, "", progress, |line, rating| {
        match rating {
            Ok(rating) if rating.verdict() == &Verdict::Skip => left_out.add(LeftOut::Skipped, line, ""),
            Ok(rating) => pairs(line, &rating, &mut samples, &mut left_out),
            Err(refusal) => mistakes.add(refusal.mistake, line, refusal.detail),
        }
        Ok(())
    })?;
    let samples = samples.into_iter().map(|(_, pair)| pair).collect();
    Ok((Samples { samples, left_out }, mistakes))
}

/// The pairs that the rating at `id` orders.
fn pairs(id: u64, rating: &Rating, samples: &mut Vec<(u64, Preference)>, left_out: &mut Tally<LeftOut>) {
    if let Verdict::Scores(_) = rating.verdict() {
        left_out.add(LeftOut::OnlyScores, id, "");
    }
    let text = |index: usize| rating.answers()[index].text.clone();
    for (better, worse, strictly) in rating.verdict().pairs(rating.answers().len()) {
        if !strictly {
            left_out.add(LeftOut::EqualRanks, id, "");
            continue;
        }
        let (prompt, chosen, rejected) = (rating.prompt().clone(), text(better), text(worse));
        samples.push((id, Preference { prompt, chosen, rejected }));
    }
}

/// A rating, and where it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its number, from 1 in the order of storing.
    pub id: u64,
    /// When it was stored, in milliseconds since 1970 in UTC.
    pub stored: u64,
    /// The rating; a refusal where the stored data make no rating.
    pub rating: Result<Rating, Refusal>,
}

/// Ratings that can be read again and again, such as a database of them.
pub trait RatingSource {
    /// Where the ratings come from, for messages.
    fn path(&self) -> &Path;

    /// Calls `each` with every rating, in the order of storing.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when they cannot be read, and what `each` returns.
    fn each(&self, each: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()>;

    /// All pairs that rankings and choices order. A ranking of four gives its six pairs, less those of equal rank; the
    /// best of four gives three. Raters who disagree give both pairs.
    ///
    /// # Errors
    /// [`crate::Error::Data`] when the ratings cannot be read.
    fn preferences(&self) -> Result<Samples<Preference>> {
        let Samples { samples, left_out } = self.preferences_by_rating()?;
        Ok(Samples { samples: samples.into_iter().map(|(_, pair)| pair).collect(), left_out })
    }

    /// [`RatingSource::preferences`] with the ids of their ratings.
    fn preferences_by_rating(&self) -> Result<Samples<(u64, Preference)>> {
        collect(self, pairs)
    }

    /// All choices of a best answer: of choices, and of rankings (imported pairs among them) with a single first.
    ///
    /// # Errors
    /// As [`RatingSource::preferences`].
    fn best_of(&self) -> Result<Samples<BestOf>> {
        collect(self, |id, rating, samples, left_out| {
            let best = match rating.verdict() {
                Verdict::Best(best) => Some(*best),
                Verdict::Ranking(ranks) => {
                    let first = ranks.iter().min();
                    let mut firsts = (0..ranks.len()).filter(|&index| Some(&ranks[index]) == first);
                    firsts.next().filter(|_| firsts.next().is_none())
                }
                Verdict::Scores(_) => return left_out.add(LeftOut::OnlyScores, id, ""),
                Verdict::Skip => return,
            };
            match best {
                Some(best) => {
                    let answers = rating.answers().iter().map(|answer| answer.text.clone()).collect();
                    samples.push(BestOf { prompt: rating.prompt().clone(), answers, best });
                }
                None => left_out.add(LeftOut::NoSingleBest, id, ""),
            }
        })
    }

    /// All scores.
    ///
    /// # Errors
    /// As [`RatingSource::preferences`].
    fn scored(&self) -> Result<Samples<Scored>> {
        collect(self, |id, rating, samples, left_out| match rating.verdict() {
            Verdict::Scores(scores) => {
                let given = rating.answers().iter().zip(scores).filter_map(|(answer, score)| Some((answer, (*score)?)));
                samples.extend(given.map(|(answer, score)| Scored {
                    prompt: rating.prompt().clone(),
                    answer: answer.text.clone(),
                    score,
                }));
            }
            Verdict::Ranking(_) | Verdict::Best(_) => left_out.add(LeftOut::NoScores, id, ""),
            Verdict::Skip => {}
        })
    }
}

/// Samples by `take`, which gets ratings that are whole; skips and damaged ones are counted here.
fn collect<T>(
    source: &(impl RatingSource + ?Sized),
    mut take: impl FnMut(u64, &Rating, &mut Vec<T>, &mut Tally<LeftOut>),
) -> Result<Samples<T>> {
    let (mut samples, mut left_out) = (Vec::new(), Tally::default());
    source.each(&mut |Stored { id, rating, .. }| {
        match &rating {
            Ok(rating) => {
                if rating.verdict() == &Verdict::Skip {
                    left_out.add(LeftOut::Skipped, id, "");
                }
                take(id, rating, &mut samples, &mut left_out);
            }
            Err(refusal) => left_out.add(LeftOut::Damaged, id, refusal.to_string()),
        }
        Ok(())
    })?;
    Ok(Samples { samples, left_out })
}
