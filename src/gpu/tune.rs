//! Remembers the fastest variant on this adapter, by operation and shape class.
//!
//! An operation asks [`Tuner::choice`]; where nothing is known yet it uses its default, and the tuner notes the
//! question. [`crate::ops::tuning`] answers the noted questions by checking and timing the variants.
//!
//! Variants may round differently, so a run keeps its choices, defaults included, from its first step to its last
//! ([`Tuner::settle`]). What is found out meanwhile is for the runs that begin later.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use super::{Gpu, race::median};
use crate::Result;

/// The questions and answers of one adapter.
pub struct Tuner {
    adapter: String,
    state: Mutex<State>,
}

/// A class of shapes, and the shapes in it that were asked for.
pub type Question = (String, Vec<Vec<u32>>);

#[derive(Default)]
struct State {
    /// What timing on this adapter found out: worth keeping for other runs.
    timed: BTreeMap<String, String>,
    /// The same, found out after the run's choices were settled: for the runs that begin later.
    later: BTreeMap<String, String>,
    /// What comes with the library.
    shipped: BTreeMap<String, String>,
    /// What the current run uses, whatever is found out meanwhile.
    run: BTreeMap<String, String>,
    /// Whether every class that is used from now on keeps its variant to the run's end.
    settled: bool,
    /// Whether `run` comes from a checkpoint, which also knew everything that was timed when the run began.
    continued: bool,
    /// Whether `run` was adopted for a run that has not begun yet.
    adopted: bool,
    /// The shapes that were asked for, the first one first.
    open: BTreeMap<String, Vec<Vec<u32>>>,
}

impl Tuner {
    /// An empty tuner for the adapter with this [`key`](super::adapter::key).
    pub fn new(adapter: String) -> Self {
        Self { adapter, state: Mutex::default() }
    }

    /// The file name for the adapter and its driver; choices hold for these only.
    pub fn adapter(&self) -> &str {
        &self.adapter
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The variant for `class`: the chosen one, or else its `default`. Then the question is noted with the `shape` that
    /// stands for the class. A choice that is not `usable` (kept by another version, or for shapes with other divisors)
    /// counts as none.
    pub fn choice(
        &self,
        class: &str,
        shape: &[u32],
        usable: impl Fn(&str) -> bool,
        default: impl FnOnce() -> &'static str,
    ) -> String {
        let mut state = self.state();
        let timed = if state.continued { None } else { Some(&state.timed) };
        let known = [Some(&state.run), timed, Some(&state.shipped)];
        let known = known.into_iter().flatten().find_map(|choices| choices.get(class).filter(|name| usable(name)));
        let variant = match known {
            Some(variant) => variant.clone(),
            None => {
                let shapes = state.open.entry(class.to_string()).or_default();
                if !shapes.iter().any(|other| other == shape) {
                    shapes.push(shape.to_vec());
                }
                default().to_string()
            }
        };
        if !state.run.contains_key(class) {
            state.run.insert(class.to_string(), variant.clone());
        }
        variant
    }

    /// Answers a question: at once or, once choices are settled, for the runs that begin later.
    pub fn remember(&self, class: &str, variant: &str) {
        let mut state = self.state();
        state.open.remove(class);
        if state.settled || state.continued {
            state.later.insert(class.to_string(), variant.to_string());
        } else {
            state.run.remove(class);
            state.timed.insert(class.to_string(), variant.to_string());
        }
    }

    /// A run begins. If [`Tuner::adopt_from_run`] was called for it, it continues with those choices, and otherwise with
    /// what was found out before.
    pub fn begin(&self) {
        let mut state = self.state();
        if !std::mem::take(&mut state.adopted) {
            state.run.clear();
            state.continued = false;
        }
        state.settled = false;
        let later = std::mem::take(&mut state.later);
        state.timed.extend(later);
    }

    /// Whether the current run continues an earlier one, so that timing is of no use to it.
    pub fn continues(&self) -> bool {
        self.state().continued
    }

    /// From now on every class keeps its choice or default. Open questions stay open, for the runs that begin later.
    pub fn settle(&self) {
        let mut state = self.state();
        (state.settled, state.adopted) = (true, false);
    }

    /// The unanswered questions: each class with the shapes that were asked for. The first shape stands for its class.
    pub fn open(&self) -> Vec<Question> {
        self.state().open.iter().map(|(class, shapes)| (class.clone(), shapes.clone())).collect()
    }

    /// Notes questions that were asked on another device.
    pub fn ask(&self, questions: Vec<Question>) {
        let mut state = self.state();
        let new: Vec<_> = questions.into_iter().filter(|(class, _)| !state.timed.contains_key(class)).collect();
        state.open.extend(new);
    }

    /// Forgets the unanswered questions, when nobody waits for an answer any more.
    pub fn forget(&self) {
        self.state().open.clear();
    }

    /// A tuner that knows what this one would choose.
    pub fn copy(&self) -> Self {
        let copy = Self::new(self.adapter.clone());
        copy.adopt(self.choices());
        copy.adopt_shipped(self.state().shipped.clone());
        copy
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// What is used now or would be if it was asked for, by class.
    pub fn choices(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let mut choices = if state.continued { BTreeMap::new() } else { state.timed.clone() };
        choices.extend(state.run.clone());
        choices
    }

    /// What a checkpoint has to know, so that the run continues with the same variants: nothing before choices are settled.
    pub fn settled_choices(&self) -> BTreeMap<String, String> {
        let settled = self.state().settled;
        if settled { self.choices() } else { BTreeMap::new() }
    }

    /// What was found out by timing, by class: what is worth keeping for other runs on this adapter.
    pub fn answers(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let mut answers = state.timed.clone();
        answers.extend(state.later.clone());
        answers
    }

    /// Adopts answers that were kept from earlier runs.
    pub fn adopt(&self, answers: BTreeMap<String, String>) {
        let mut state = self.state();
        for class in answers.keys() {
            state.open.remove(class);
            state.run.remove(class);
        }
        state.timed.extend(answers);
    }

    /// Adopts the [settled choices](Tuner::settled_choices) of the run that is continued; without any, it begins afresh.
    pub fn adopt_from_run(&self, choices: BTreeMap<String, String>) {
        let mut state = self.state();
        (state.continued, state.adopted) = (!choices.is_empty(), !choices.is_empty());
        state.run = choices;
    }

    /// Adopts choices that come with the library, which count where nothing was timed.
    pub fn adopt_shipped(&self, choices: BTreeMap<String, String>) {
        self.state().shipped = choices;
    }
}

impl Gpu {
    /// Seconds per call of `record`: the median of `rounds` rounds of `repeat` calls each, after a warm-up.
    ///
    /// # Errors
    /// Returns the errors of `record` and of the driver.
    pub async fn time(&self, rounds: usize, repeat: usize, mut record: impl FnMut() -> Result<()>) -> Result<f64> {
        record()?;
        self.finish().await?;
        let mut seconds = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let start = web_time::Instant::now();
            for _ in 0..repeat {
                record()?;
            }
            self.finish().await?;
            seconds.push(start.elapsed().as_secs_f64() / repeat as f64);
        }
        Ok(median(&mut seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(tuner: &Tuner, class: &str) -> String {
        tuner.choice(class, &[1], |_| true, || "default")
    }

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(class, variant)| (class.to_string(), variant.to_string())).collect()
    }

    /// A run that began with a default keeps it, and so does its continuation; the next run has the answer.
    #[test]
    fn a_run_keeps_its_choices() {
        let tuner = Tuner::new("adapter".into());
        tuner.begin();
        assert_eq!(choice(&tuner, "a"), "default");
        assert_eq!(choice(&tuner, "b"), "default");
        assert_eq!(tuner.settled_choices(), pairs(&[]));
        tuner.remember("a", "fast");
        assert_eq!(choice(&tuner, "a"), "fast");
        tuner.settle();
        tuner.remember("b", "fast");
        assert_eq!((choice(&tuner, "a"), choice(&tuner, "b")), ("fast".into(), "default".into()));
        assert_eq!(choice(&tuner, "asked for late"), "default");
        let settled = tuner.settled_choices();
        assert_eq!(settled, pairs(&[("a", "fast"), ("asked for late", "default"), ("b", "default")]));
        assert_eq!(tuner.answers(), pairs(&[("a", "fast"), ("b", "fast")]));

        // The continuation knows better by now, also about a class that the run has not asked for yet.
        let continued = Tuner::new("adapter".into());
        continued.adopt(tuner.answers());
        continued.adopt(pairs(&[("later still", "fast")]));
        continued.adopt_from_run(settled);
        continued.begin();
        assert!(continued.continues());
        assert_eq!((choice(&continued, "b"), choice(&continued, "later still")), ("default".into(), "default".into()));
        continued.remember("later still", "faster");
        continued.settle();
        assert_eq!((choice(&continued, "b"), choice(&continued, "later still")), ("default".into(), "default".into()));
        assert_eq!(continued.answers(), pairs(&[("a", "fast"), ("b", "fast"), ("later still", "faster")]));

        // A run that begins afterwards is bound by nothing.
        for tuner in [&tuner, &continued] {
            tuner.begin();
            assert!(!tuner.continues());
            assert_eq!((choice(tuner, "b"), choice(tuner, "asked for late")), ("fast".into(), "default".into()));
        }
        assert_eq!(choice(&continued, "later still"), "faster");
    }

    /// A recorded choice that one shape of its class cannot use is not replaced for the others.
    #[test]
    fn an_unusable_choice_stays_for_other_shapes() {
        let tuner = Tuner::new("adapter".into());
        tuner.adopt_from_run(pairs(&[("a", "for four")]));
        tuner.begin();
        let odd = |tuner: &Tuner| tuner.choice("a", &[3], |name| name != "for four", || "default");
        assert_eq!(odd(&tuner), "default");
        tuner.remember("a", "other");
        tuner.settle();
        assert_eq!((odd(&tuner), choice(&tuner, "a")), ("default".into(), "for four".into()));
    }

    #[test]
    fn own_timings_come_before_shipped_choices() {
        let tuner = Tuner::new("adapter".into());
        tuner.adopt(pairs(&[("a", "timed")]));
        tuner.adopt_shipped(pairs(&[("a", "shipped"), ("b", "shipped")]));
        assert_eq!((choice(&tuner, "a"), choice(&tuner, "b")), ("timed".into(), "shipped".into()));
        assert!(tuner.open().is_empty());
        assert_eq!(tuner.answers(), pairs(&[("a", "timed")]));
    }
}
