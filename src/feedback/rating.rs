//! One person's verdict on the answers to one prompt.

use serde_json::Value;

use super::{
    prompt::Prompt,
    tally::{Mistake, Refusal},
};

/// The maximum number of answers in a rating: the answers are named by letters.
pub const MOST_ANSWERS: usize = 16;

/// The largest score: squares of such scores, and sums of them, are still finite in f32.
pub const LARGEST_SCORE: f64 = 1e15;

/// An answer and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer's text; not empty.
    pub text: String,
    /// The model that produced it, if known.
    pub model: Option<String>,
    /// Its sampling settings as an object, including the seed, if known.
    pub sampling: Option<Value>,
}

impl Answer {
    /// An answer of unknown origin.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), model: None, sampling: None }
    }
}

/// A rater's verdict on the answers, in the order of the answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A rank for each answer, 1 for the best; equally good answers have equal ranks.
    Ranking(Vec<u32>),
    /// The best one (from 0); nothing is said about the order of the others.
    Best(usize),
    /// A score for each answer, or [`None`].
    Scores(Vec<Option<f64>>),
    /// The rater looked at the answers and gave no verdict.
    Skip,
}

impl Verdict {
    /// The verdict's name in the database and in JSONL.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ranking(_) => "ranking",
            Self::Best(_) => "best",
            Self::Scores(_) => "score",
            Self::Skip => "skip",
        }
    }

    /// A number for each of `count` answers, as stored in the database: ranks (1 for a best answer, 2 for the others)
    /// or scores.
    pub fn values(&self, count: usize) -> Vec<Option<f64>> {
        match self {
            Self::Ranking(ranks) => ranks.iter().map(|&rank| Some(f64::from(rank))).collect(),
            Self::Best(best) => (0..count).map(|index| Some(if index == *best { 1.0 } else { 2.0 })).collect(),
            Self::Scores(scores) => scores.clone(),
            Self::Skip => vec![None; count],
        }
    }

    /// The inverse of [`Verdict::values`].
    pub fn from_values(kind: &str, values: &[Option<f64>]) -> Result<Self, Refusal> {
        let wrong = || Refusal::new(Mistake::WrongVerdict, format!("{kind:?} with the values {values:?}"));
        let rank = |value: &Option<f64>| match value {
            Some(rank) if *rank >= 1.0 && *rank <= MOST_ANSWERS as f64 && rank.fract() == 0.0 => Ok(*rank as u32),
            _ => Err(wrong()),
        };
        match kind {
            "ranking" => Ok(Self::Ranking(values.iter().map(rank).collect::<Result<_, _>>()?)),
            "best" => {
                let mut firsts = values.iter().enumerate().filter(|(_, value)| **value == Some(1.0));
                match (firsts.next(), firsts.next()) {
                    (Some((best, _)), None) => Ok(Self::Best(best)),
                    _ => Err(wrong()),
                }
            }
            "score" => Ok(Self::Scores(values.to_vec())),
            "skip" => Ok(Self::Skip),
            _ => Err(wrong()),
        }
    }

    /// The pairs of answers that it orders: `(better, worse, strictly)`. If `strictly` is false, the two are equally
    /// good.
    pub fn pairs(&self, count: usize) -> Vec<(usize, usize, bool)> {
        let all = || (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        match self {
            Self::Ranking(ranks) => all()
                .filter_map(|(a, b)| Some((a, b, ranks.get(a)?, ranks.get(b)?)))
                .map(|(a, b, first, second)| if first <= second { (a, b, first < second) } else { (b, a, true) })
                .collect(),
            Self::Best(best) => (0..count).filter(|other| other != best).map(|other| (*best, other, true)).collect(),
            Self::Scores(_) | Self::Skip => Vec::new(),
        }
    }
}

/// A checked rating.
#[derive(Clone, Debug, PartialEq)]
pub struct Rating {
    prompt: Prompt,
    answers: Vec<Answer>,
    verdict: Verdict,
    /// Who gave the rating.
    pub rater: String,
    /// The time of the rating in milliseconds since 1970 in UTC; [`None`] if the source does not say.
    pub time: Option<u64>,
}

impl Rating {
    /// Builds a rating. `answers` are in the order in which they were shown.
    ///
    /// # Errors
    /// A [`Refusal`] for an empty answer, equal answers to choose from, too few or too many answers, or a verdict that
    /// does not fit them.
    pub fn new(
        prompt: Prompt,
        answers: Vec<Answer>,
        verdict: Verdict,
        rater: impl Into<String>,
        time: Option<u64>,
    ) -> Result<Self, Refusal> {
        let count = answers.len();
        let refuse = |mistake, detail: String| Err(Refusal::new(mistake, detail));
        check_answers(&answers)?;
        let compares = matches!(verdict, Verdict::Ranking(_) | Verdict::Best(_));
        if compares && count < 2 {
            return refuse(Mistake::AnswerCount, format!("{count}; it takes two to compare"));
        }
        let same = |(later, answer): (usize, &Answer)| {
            answers.iter().take(later).position(|other| other.text == answer.text).map(|earlier| (earlier, later))
        };
        let equal = answers.iter().enumerate().find_map(same);
        if let (true, Some((a, b))) = (compares, equal) {
            return refuse(Mistake::EqualAnswers, format!("answers {} and {}", a + 1, b + 1));
        }
        match &verdict {
            Verdict::Best(best) if *best >= count => {
                refuse(Mistake::WrongVerdict, format!("the best is {best}, counted from 0, of {count} answers"))
            }
            Verdict::Ranking(ranks) if ranks.len() != count || ranks.contains(&0) => {
                refuse(Mistake::WrongVerdict, format!("the ranks {ranks:?} for {count} answers"))
            }
            Verdict::Scores(scores) if scores.len() != count || scores.iter().all(Option::is_none) => {
                refuse(Mistake::WrongVerdict, format!("the scores {scores:?} for {count} answers"))
            }
            Verdict::Scores(scores) if scores.iter().flatten().any(|score| !score.is_finite()) => {
                refuse(Mistake::NotFinite, format!("{scores:?}"))
            }
            Verdict::Scores(scores) if scores.iter().flatten().any(|score| score.abs() > LARGEST_SCORE) => {
                refuse(Mistake::Extreme, format!("{scores:?}"))
            }
            _ => Ok(Self { prompt, answers, verdict, rater: rater.into(), time }),
        }
    }

    /// The prompt that was answered.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The answers in the order in which they were shown.
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// The rater's verdict.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// Checks the rules for answers that do not depend on the verdict.
pub fn check_answers(answers: &[Answer]) -> Result<(), Refusal> {
    if answers.is_empty() || answers.len() > MOST_ANSWERS {
        return Err(Refusal::new(Mistake::AnswerCount, format!("{}; give 1 to {MOST_ANSWERS}", answers.len())));
    }
    match answers.iter().position(|answer| answer.text.trim().is_empty()) {
        Some(empty) => Err(Refusal::new(Mistake::EmptyAnswer, format!("answer {}", empty + 1))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rating(texts: &[&str], verdict: Verdict) -> Result<Rating, Mistake> {
        let answers = texts.iter().map(|text| Answer::text(*text)).collect();
        Rating::new(Prompt::text("Why?").unwrap(), answers, verdict, "anna", None).map_err(|refusal| refusal.mistake)
    }

    #[test]
    fn verdicts_order_pairs() {
        let ranking = Verdict::Ranking(vec![2, 1, 3, 2]);
        let pairs = ranking.pairs(4);
        assert_eq!(pairs.len(), 6);
        assert!(pairs.contains(&(1, 0, true)) && pairs.contains(&(0, 3, false)) && pairs.contains(&(3, 2, true)));
        assert_eq!(Verdict::Best(1).pairs(3), [(1, 0, true), (1, 2, true)]);
        assert!(Verdict::Skip.pairs(3).is_empty());
    }

    #[test]
    fn values_go_both_ways() {
        let scores = Verdict::Scores(vec![None, Some(-1.5)]);
        for verdict in [Verdict::Ranking(vec![1, 1]), Verdict::Best(1), scores, Verdict::Skip] {
            assert_eq!(Verdict::from_values(verdict.kind(), &verdict.values(2)), Ok(verdict));
        }
        assert!(Verdict::from_values("ranking", &[Some(0.5)]).is_err());
        assert!(Verdict::from_values("best", &[Some(1.0), Some(1.0)]).is_err());
        assert!(Verdict::from_values("vote", &[]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(rating(&["a", " "], Verdict::Best(0)), Err(Mistake::EmptyAnswer));
        assert_eq!(rating(&["a", "a"], Verdict::Best(0)), Err(Mistake::EqualAnswers));
        assert_eq!(rating(&["a", "b"], Verdict::Best(2)), Err(Mistake::WrongVerdict));
        assert_eq!(rating(&["a"], Verdict::Best(0)), Err(Mistake::AnswerCount));
        assert_eq!(rating(&[], Verdict::Skip), Err(Mistake::AnswerCount));
        assert_eq!(rating(&["a", "b"], Verdict::Ranking(vec![1])), Err(Mistake::WrongVerdict));
        assert_eq!(rating(&["a"], Verdict::Scores(vec![Some(f64::NAN)])), Err(Mistake::NotFinite));
        assert_eq!(rating(&["a"], Verdict::Scores(vec![Some(-1e308)])), Err(Mistake::Extreme));
        assert_eq!(rating(&["a"], Verdict::Scores(vec![Some(LARGEST_SCORE)])).map(|_| ()), Ok(()));
        assert_eq!(rating(&["a"], Verdict::Scores(vec![None])), Err(Mistake::WrongVerdict));
        assert!(rating(&["a", "a"], Verdict::Skip).is_ok());
    }
}
