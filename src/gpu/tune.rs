//! The variant that is fastest on this adapter, by operation and shape class.
//!
//! An operation asks [`Tuner::choice`]; where nothing is known yet it takes its default, and the tuner notes the
//! question. [`crate::ops::tuning`] answers the noted questions by checking and timing every variant.

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

/// A class of shapes, and the shapes of it that were asked for.
pub type Question = (String, Vec<Vec<u32>>);

#[derive(Default)]
struct State {
    choices: BTreeMap<String, String>,
    /// The shapes that were asked for, the first one first.
    open: BTreeMap<String, Vec<Vec<u32>>>,
}

impl Tuner {
    /// An empty tuner for the adapter that has this [`key`](super::adapter::key).
    pub fn new(adapter: String) -> Self {
        Self { adapter, state: Mutex::default() }
    }

    /// The adapter and its driver as a file name: choices hold for these only.
    pub fn adapter(&self) -> &str {
        &self.adapter
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The chosen variant for `class`, or a note that somebody asked, with the `shape` that stands for the class. A
    /// choice that is not `usable` (kept by another version, or for shapes with other divisors) counts as none.
    pub fn choice(&self, class: &str, shape: &[u32], usable: impl Fn(&str) -> bool) -> Option<String> {
        let mut state = self.state();
        let choice = state.choices.get(class).filter(|name| usable(name)).cloned();
        if choice.is_none() {
            let shapes = state.open.entry(class.to_string()).or_default();
            if !shapes.iter().any(|other| other == shape) {
                shapes.push(shape.to_vec());
            }
        }
        choice
    }

    /// Answers a question.
    pub fn remember(&self, class: &str, variant: &str) {
        let mut state = self.state();
        state.open.remove(class);
        state.choices.insert(class.to_string(), variant.to_string());
    }

    /// The questions without an answer: class, and the shapes that were asked for. The first one stands for its class.
    pub fn open(&self) -> Vec<Question> {
        self.state().open.iter().map(|(class, shapes)| (class.clone(), shapes.clone())).collect()
    }

    /// Notes questions that were asked elsewhere.
    pub fn ask(&self, questions: Vec<Question>) {
        let mut state = self.state();
        let new: Vec<_> = questions.into_iter().filter(|(class, _)| !state.choices.contains_key(class)).collect();
        state.open.extend(new);
    }

    /// Forgets the questions without an answer: nobody waits for one any more.
    pub fn forget(&self) {
        self.state().open.clear();
    }

    /// All answers by class.
    pub fn choices(&self) -> BTreeMap<String, String> {
        self.state().choices.clone()
    }

    /// Takes over answers that were kept from an earlier run.
    pub fn adopt(&self, choices: BTreeMap<String, String>) {
        let mut state = self.state();
        for class in choices.keys() {
            state.open.remove(class);
        }
        state.choices.extend(choices);
    }
}

impl Gpu {
    /// Seconds of one call of `record`, the median of `rounds` rounds of `repeat` calls after a warm-up.
    ///
    /// # Errors
    /// Those of `record` and of the driver.
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
