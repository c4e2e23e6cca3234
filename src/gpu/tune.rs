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

/// Where a choice comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Variants were timed on this adapter.
    Timed,
    /// It comes with the library.
    Shipped,
    /// The checkpoint that a run continues from.
    Checkpoint,
    /// Nothing was known when the run began.
    Default,
}

#[derive(Default)]
struct State {
    choices: BTreeMap<String, (String, Source)>,
    /// The shapes that were asked for, the first one first.
    open: BTreeMap<String, Vec<Vec<u32>>>,
    /// The variants that are used while a question is open.
    defaults: BTreeMap<String, &'static str>,
    settled: bool,
    /// Answers found while choices are settled.
    later: BTreeMap<String, String>,
}

impl State {
    /// Takes `choices` in place of earlier ones, if `all`, or where there are none yet.
    fn adopt(&mut self, choices: BTreeMap<String, String>, source: Source, all: bool) {
        for (class, variant) in choices {
            if all || !self.choices.contains_key(&class) {
                self.open.remove(&class);
                self.choices.insert(class, (variant, source));
            }
        }
    }
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
        if let Some((variant, _)) = state.choices.get(class).filter(|(variant, _)| usable(variant)) {
            return variant.clone();
        }
        let shapes = state.open.entry(class.to_string()).or_default();
        if !shapes.iter().any(|other| other == shape) {
            shapes.push(shape.to_vec());
        }
        let default = default();
        state.defaults.insert(class.to_string(), default);
        if state.settled {
            state.choices.entry(class.to_string()).or_insert((default.to_string(), Source::Default));
        }
        default.to_string()
    }

    /// Answers a question: at once or, once choices are settled, for the runs that begin later.
    pub fn remember(&self, class: &str, variant: &str) {
        let mut state = self.state();
        state.open.remove(class);
        if state.settled {
            state.later.insert(class.to_string(), variant.to_string());
        } else {
            state.choices.insert(class.to_string(), (variant.to_string(), Source::Timed));
        }
    }

    /// A run begins: it uses what was found out during earlier runs, and does not have to use their defaults.
    pub fn begin(&self) {
        let mut state = self.state();
        state.settled = false;
        state.choices.retain(|_, (_, source)| *source != Source::Default);
        let later = std::mem::take(&mut state.later);
        state.adopt(later, Source::Timed, true);
    }

    /// From now on every class keeps its choice or default. Open questions stay open, for the runs that begin later.
    pub fn settle(&self) {
        let mut state = self.state();
        state.settled = true;
        let open: Vec<_> = state.open.keys().cloned().collect();
        for class in open {
            if let Some(default) = state.defaults.get(&class).copied() {
                state.choices.entry(class).or_insert((default.to_string(), Source::Default));
            }
        }
    }

    /// The unanswered questions: each class with the shapes that were asked for. The first shape stands for its class.
    pub fn open(&self) -> Vec<Question> {
        self.state().open.iter().map(|(class, shapes)| (class.clone(), shapes.clone())).collect()
    }

    /// Notes questions that were asked on another device.
    pub fn ask(&self, questions: Vec<Question>) {
        let mut state = self.state();
        let new: Vec<_> = questions.into_iter().filter(|(class, _)| !state.choices.contains_key(class)).collect();
        state.open.extend(new);
    }

    /// Forgets the unanswered questions, when nobody waits for an answer any more.
    pub fn forget(&self) {
        self.state().open.clear();
    }

    /// What is used now, by class.
    pub fn choices(&self) -> BTreeMap<String, String> {
        self.state().choices.iter().map(|(class, (variant, _))| (class.clone(), variant.clone())).collect()
    }

    /// What was found out by timing, by class: what is worth keeping for other runs on this adapter.
    pub fn answers(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let timed = state.choices.iter().filter(|(_, (_, source))| *source == Source::Timed);
        let mut answers: BTreeMap<_, _> = timed.map(|(class, (variant, _))| (class.clone(), variant.clone())).collect();
        answers.extend(state.later.clone());
        answers
    }

    /// Adopts answers that were kept from earlier runs.
    pub fn adopt(&self, answers: BTreeMap<String, String>) {
        self.state().adopt(answers, Source::Timed, true);
    }

    /// Adopts the choices of the run that is continued.
    pub fn adopt_from_run(&self, choices: BTreeMap<String, String>) {
        self.state().adopt(choices, Source::Checkpoint, true);
    }

    /// Adopts choices that come with the library, for classes without any.
    pub fn adopt_shipped(&self, choices: BTreeMap<String, String>) {
        self.state().adopt(choices, Source::Shipped, false);
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
        tuner.remember("a", "fast");
        tuner.settle();
        tuner.remember("b", "fast");
        assert_eq!((choice(&tuner, "a"), choice(&tuner, "b")), ("fast".into(), "default".into()));
        assert_eq!(choice(&tuner, "asked for late"), "default");
        assert_eq!(tuner.choices(), pairs(&[("a", "fast"), ("asked for late", "default"), ("b", "default")]));
        assert_eq!(tuner.answers(), pairs(&[("a", "fast"), ("b", "fast")]));

        let continued = Tuner::new("adapter".into());
        continued.adopt(tuner.answers());
        continued.adopt_from_run(tuner.choices());
        continued.begin();
        assert_eq!(choice(&continued, "b"), "default");
        // What the earlier run made do with is not worth keeping.
        assert_eq!(continued.answers(), pairs(&[]));

        tuner.begin();
        assert_eq!((choice(&tuner, "b"), choice(&tuner, "asked for late")), ("fast".into(), "default".into()));
        assert_eq!(tuner.open().len(), 1);
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
