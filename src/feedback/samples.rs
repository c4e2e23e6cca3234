//! Training data from ratings: pairs, choices and scores, with counts of what was left out.

use std::{fmt, path::Path};

use super::{
    prompt::Prompt,
    rating::{Rating, Verdict},
    read,
    tally::{Mistake, Refusal, Tally},
};
use crate::Result;

/// Two answers, one of them better: the training data of a Bradley-Terry reward model and of DPO.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// The prompt.
    pub prompt: Prompt,
    /// The better answer.
    pub chosen: String,
    /// The worse answer.
    pub rejected: String,
}

/// Several answers, one of them the best: the training data of the softmax over answers in Ziegler et al. (2019).
#[derive(Clone, Debug, PartialEq)]
pub struct BestOf {
    /// The prompt.
    pub prompt: Prompt,
    /// Two or more distinct answers, in the order in which they were shown.
    pub answers: Vec<String>,
    /// The index of the best one, from 0.
    pub best: usize,
}

/// An answer with a finite score, on whatever scale its source uses; `wgpt rate` uses 1 to 5.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The prompt.
    pub prompt: Prompt,
    /// The answer.
    pub answer: String,
    /// Its score.
    pub score: f64,
}

/// Why a rating, or a pair of its answers, yielded no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// The rater gave no verdict.
    Skipped,
    /// It has scores, but an order is needed.
    OnlyScores,
    /// Two answers have the same rank, so they form no pair.
    EqualRanks,
    /// Several answers share the first rank, so there is no single best one.
    NoSingleBest,
    /// It is a ranking or a choice, but scores are needed.
    NoScores,
    /// Its database rows do not form a valid rating.
    Damaged,
    /// It has a system message, or text that looks like a turn, neither of which a transcript can represent.
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

/// Samples, and a tally of the ratings that yielded none; positions in the tally are ids of ratings.
#[derive(Clone, Debug)]
pub struct Samples<T> {
    /// In the order in which the ratings were stored.
    pub samples: Vec<T>,
    /// What was left out, and why.
    pub left_out: Tally<LeftOut>,
}

/// The pairs ordered by the ratings of a data file, without storing them, the records that are not ratings, and what the
/// positions in the tallies count, such as "line"; see [`read::read`]. `progress` is called with the number of bytes read.
///
/// # Errors
/// Returns the errors of [`read::read`].
pub fn preferences_of(
    path: &Path,
    progress: impl FnMut(u64),
) -> Result<(Samples<Preference>, Tally<Mistake>, &'static str)> {
    let (mut samples, mut left_out, mut mistakes) = (Vec::new(), Tally::default(), Tally::default());
    let records = read::read(path, "", progress, |line, rating| {
        match rating {
            Ok(rating) if rating.verdict() == &Verdict::Skip => left_out.add(LeftOut::Skipped, line, ""),
            Ok(rating) => pairs(line, &rating, &mut samples, &mut left_out),
            Err(refusal) => mistakes.add(refusal.mistake, line, refusal.detail),
        }
        Ok(())
    })?;
    let samples = samples.into_iter().map(|(_, pair)| pair).collect();
    Ok((Samples { samples, left_out }, mistakes, records.unit))
}

/// Adds the pairs ordered by the rating at `id`.
fn pairs(id: u64, rating: &Rating, samples: &mut Vec<(u64, Preference)>, left_out: &mut Tally<LeftOut>) {
    if let Verdict::Scores(_) = rating.verdict() {
        left_out.add(LeftOut::OnlyScores, id, "");
    }
    let text = |index: usize| rating.answers().get(index).map(|answer| answer.text.clone());
    for (better, worse, strictly) in rating.verdict().pairs(rating.answers().len()) {
        if !strictly {
            left_out.add(LeftOut::EqualRanks, id, "");
            continue;
        }
        // The pairs are numbers of these answers.
        let (Some(chosen), Some(rejected)) = (text(better), text(worse)) else { continue };
        samples.push((id, Preference { prompt: rating.prompt().clone(), chosen, rejected }));
    }
}

/// A stored rating.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its id, from 1 in the order of storing.
    pub id: u64,
    /// When it was stored, in milliseconds since 1970 in UTC.
    pub stored: u64,
    /// The rating, or a refusal if the stored data do not form a valid rating.
    pub rating: Result<Rating, Refusal>,
}

/// A source of ratings that can be read repeatedly, such as a database.
pub trait RatingSource {
    /// The path of the source, for error messages.
    fn path(&self) -> &Path;

    /// Calls `each` with every rating, in the order of storing.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the ratings cannot be read, and the errors of `each`.
    /// [`crate::Error::Data`] when they cannot be read, and what `each` returns.
    fn each(&self, each: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()>;

    /// All pairs ordered by rankings and choices. A ranking of four yields its six pairs, minus those of equal rank; a
    /// choice among four yields three. If raters disagree, both orders of a pair are included.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if the ratings cannot be read.
    /// [`crate::Error::Data`] when the ratings cannot be read.
    fn preferences(&self) -> Result<Samples<Preference>> {
        let Samples { samples, left_out } = self.preferences_by_rating()?;
        Ok(Samples { samples: samples.into_iter().map(|(_, pair)| pair).collect(), left_out })
    }

    /// [`RatingSource::preferences`], each pair with the id of its rating.
    fn preferences_by_rating(&self) -> Result<Samples<(u64, Preference)>> {
        collect(self, pairs)
    }

    /// All choices of a best answer, from choices and from rankings (including imported pairs) with a single first.
    ///
    /// # Errors
    /// Returns the errors of [`RatingSource::preferences`].
    fn best_of(&self) -> Result<Samples<BestOf>> {
        collect(self, |id, rating, samples, left_out| {
            let best = match rating.verdict() {
                Verdict::Best(best) => Some(*best),
                Verdict::Ranking(ranks) => {
                    let first = ranks.iter().min();
                    let mut firsts = ranks.iter().enumerate().filter(|(_, rank)| Some(*rank) == first);
                    firsts.next().filter(|_| firsts.next().is_none()).map(|(index, _)| index)
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
    /// Returns the errors of [`RatingSource::preferences`].
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

/// Collects samples with `take`, which is called with valid ratings only; skips and damaged ratings are counted here.
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
