//! Remembers the fastest variant on this adapter, by operation and shape class.
//!
//! An operation asks [`Tuner::choice`]; where nothing is known yet it uses its default, and the tuner notes the
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

/// A class of shapes, and the shapes in it that were asked for.
pub type Question = (String, Vec<Vec<u32>>);

#[derive(Default)]
struct State {
    choices: BTreeMap<String, String>,
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

    /// The variant chosen for `class`. Without one, notes the question with the `shape` that stands for the class. A
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

    /// All answers by class.
    pub fn choices(&self) -> BTreeMap<String, String> {
        self.state().choices.clone()
    }

    /// Adopts answers that were saved by an earlier run.
    pub fn adopt(&self, choices: BTreeMap<String, String>) {
        let mut state = self.state();
        for class in choices.keys() {
            state.open.remove(class);
        }
        state.choices.extend(choices);
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
