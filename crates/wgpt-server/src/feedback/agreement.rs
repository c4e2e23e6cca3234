//! How far raters agree, and how models compare.

use std::collections::BTreeMap;

use serde::Serialize;

use super::store::Store;
use wgpt::{
    Result,
    feedback::{Stored, Verdict},
};

/// The model name under which answers of unknown origin are counted.
pub const UNKNOWN_MODEL: &str = "unknown";

/// Statistics of a database.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Total number of ratings.
    pub ratings: u64,
    /// Ratings whose rows are inconsistent.
    pub damaged: u64,
    /// Ratings by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Ratings by rater.
    pub raters: BTreeMap<String, u64>,
    /// Results of answers by model.
    pub models: BTreeMap<String, Model>,
    /// Agreement between raters.
    pub agreement: Agreement,
}

/// Results of a model's answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Model {
    /// How often one of its answers was shown.
    pub shown: u64,
    /// Comparisons won.
    pub won: u64,
    /// Comparisons lost.
    pub lost: u64,
    /// Comparisons that were tied.
    pub tied: u64,
    /// Number of scores given.
    pub scores: u64,
    /// Mean score; [`None`] without scores.
    pub mean_score: Option<f64>,
}

/// Agreement of two raters on the same two answers, from rankings and choices. If a rater judged a pair twice, the last
/// judgement counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Pairs of answers that at least two raters judged.
    pub shared_pairs: u64,
    /// Comparisons of two raters' judgements of such a pair.
    pub compared: u64,
    /// Comparisons in which both agreed: the first, the second, or equal.
    pub equal: u64,
    /// `equal / compared`; [`None`] without shared pairs.
    pub share: Option<f64>,
}

/// A judgement of a pair, ordered by text: whether the first is better; [`None`] if they are equal.
type Judgement = Option<bool>;

/// Judgements by rater, for each prompt and pair of answers.
type Judgements = BTreeMap<(String, String, String), BTreeMap<String, Judgement>>;

impl Store {
    /// Computes all statistics.
    ///
    /// # Errors
    /// [`wgpt::Error::Data`] if the database cannot be read.
    pub fn statistics(&self) -> Result<Statistics> {
        let (mut all, mut judgements) = (Statistics::default(), Judgements::new());
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        self.each(|Stored { rating, .. }| {
            all.ratings += 1;
            let Ok(rating) = rating else {
                all.damaged += 1;
                return Ok(());
            };
            *all.kinds.entry(rating.verdict().kind()).or_default() += 1;
            *all.raters.entry(rating.rater.clone()).or_default() += 1;
            let answers = rating.answers();
            let name = |index: usize| answers[index].model.clone().unwrap_or_else(|| UNKNOWN_MODEL.to_string());
            for index in 0..answers.len() {
                all.models.entry(name(index)).or_default().shown += 1;
            }
            if let Verdict::Scores(scores) = rating.verdict() {
                for (index, score) in scores.iter().enumerate().filter_map(|(index, score)| Some((index, (*score)?))) {
                    all.models.entry(name(index)).or_default().scores += 1;
                    *sums.entry(name(index)).or_default() += score;
                }
            }
            let prompt = rating.prompt().list().to_string();
            for (better, worse, strictly) in rating.verdict().pairs(answers.len()) {
                for (index, won) in [(better, true), (worse, false)] {
                    let model = all.models.entry(name(index)).or_default();
                    *if !strictly {
                        &mut model.tied
                    } else if won {
                        &mut model.won
                    } else {
                        &mut model.lost
                    } += 1;
                }
                let (better, worse) = (&answers[better].text, &answers[worse].text);
                let (first, second) = (better.min(worse).clone(), better.max(worse).clone());
                let judgement = strictly.then_some(*better == first);
                let pair = judgements.entry((prompt.clone(), first, second)).or_default();
                pair.insert(rating.rater.clone(), judgement);
            }
            Ok(())
        })?;
        for (name, model) in &mut all.models {
            model.mean_score = sums.get(name).map(|sum| sum / model.scores as f64);
        }
        all.agreement = agreement(&judgements);
        Ok(all)
    }
}

fn agreement(judgements: &Judgements) -> Agreement {
    let mut all = Agreement::default();
    for by_rater in judgements.values().filter(|by_rater| by_rater.len() > 1) {
        all.shared_pairs += 1;
        let said: Vec<_> = by_rater.values().collect();
        for (index, one) in said.iter().enumerate() {
            all.compared += (said.len() - index - 1) as u64;
            all.equal += said[index + 1..].iter().filter(|other| *other == one).count() as u64;
        }
    }
    all.share = (all.compared > 0).then(|| all.equal as f64 / all.compared as f64);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::feedback::{Answer, Prompt, Rating};

    #[test]
    fn raters_and_models_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(&dir.path().join("f")).unwrap();
        assert_eq!(store.statistics().unwrap().agreement.share, None, "an empty database has no share, not NaN");
        let mut rate = |rater: &str, texts: &[&str], verdict: Verdict| {
            let by = |text: &&str| Answer { model: Some(format!("model {text}")), ..Answer::text(*text) };
            let answers = texts.iter().map(by).collect();
            store.add(&Rating::new(Prompt::text("Why?").unwrap(), answers, verdict, rater, None).unwrap()).unwrap();
        };
        rate("anna", &["a", "b", "c"], Verdict::Ranking(vec![3, 2, 1]));
        // The last judgement counts: a over b over c.
        rate("anna", &["a", "b", "c"], Verdict::Ranking(vec![1, 2, 3]));
        // Agrees on a over b, but not on b equal to c; a and c are compared in another order of showing.
        rate("ben", &["c", "b", "a"], Verdict::Ranking(vec![2, 2, 1]));
        rate("carl", &["c", "a", "b"], Verdict::Best(1));
        rate("carl", &["c", "a"], Verdict::Scores(vec![Some(1.0), None]));
        let all = store.statistics().unwrap();
        // a-b and a-c: three raters agree, 3 comparisons each; b-c: anna and ben differ.
        let expected = Agreement { shared_pairs: 3, compared: 7, equal: 6, share: Some(6.0 / 7.0) };
        assert_eq!(all.agreement, expected);
        assert_eq!((all.ratings, all.raters["carl"], all.kinds["ranking"]), (5, 2, 3));
        let c = Model { shown: 5, won: 2, lost: 4, tied: 1, scores: 1, mean_score: Some(1.0) };
        assert_eq!(all.models["model c"], c);
    }
}
