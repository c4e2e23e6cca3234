//! Guards, which tell a run that goes wrong from one that learns.

use serde::{Deserialize, Serialize};

use super::{settings::Limits, statistics::Statistics};
use crate::{error::GuardCause, train::run::Verdict};

/// A larger difference in nats between sampling and training is not explained by rounding.
const LARGEST_GAP: f64 = 0.1;

/// Gold scores are averaged over a quarter of a run's steps, within these numbers.
const WINDOW: [u64; 2] = [5, 20];

/// How many standard errors the mean gold score may fall below its best. The best of many noisy means is high by luck: with 4.5
/// one in two hundred runs of 200 steps is stopped in which nothing changes, and fewer of shorter ones.
const FALL: f64 = 4.5;

/// The first number of a step that is not finite.
pub(super) fn not_finite(step: &Statistics) -> Option<(&'static str, f64)> {
    let numbers = [
        ("the score", step.score),
        ("the KL", step.kl),
        ("the entropy", step.entropy),
        ("the policy loss", f64::from(step.policy_loss)),
        ("the value loss", f64::from(step.value_loss)),
        ("the gradient", f64::from(step.gradient_norm)),
    ];
    numbers.into_iter().find(|(_, value)| !value.is_finite())
}

/// What the guards remember; part of the run's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Guards {
    /// Mean length of the first batch's answers.
    first_length: Option<f64>,
    /// Consecutive steps over a limit.
    strikes: u64,
    /// Score and gold score of the last steps, as many as are averaged.
    #[serde(default)]
    recent: Vec<(f64, f64)>,
    /// Mean score and mean gold score of those steps in a row that had the best gold score.
    #[serde(default)]
    best: Option<(f64, f64)>,
    /// Sum of the squared differences of gold scores from one step to the next, and their number: what they vary by chance.
    #[serde(default)]
    noise: (f64, u64),
}

impl Guards {
    /// Judges a step of a run of `steps`.
    pub fn check(&mut self, step: &Statistics, limits: &Limits, steps: u64) -> Verdict {
        if let Some((what, value)) = not_finite(step) {
            return Verdict::Stop(GuardCause::NotFinite { what, value, origin: None });
        }
        let first = *self.first_length.get_or_insert(step.response_length);
        let cause = if step.sampling_gap.is_nan() || step.sampling_gap > LARGEST_GAP {
            Some(GuardCause::SamplingGap { nats: step.sampling_gap })
        } else if limits.kl > 0.0 && step.kl > limits.kl {
            Some(GuardCause::Kl { nats: step.kl, most: limits.kl })
        } else if step.repetition > limits.repetition {
            Some(GuardCause::Repetition { share: step.repetition, most: limits.repetition })
        } else if step.response_length < limits.length * first {
            Some(GuardCause::Shortness { tokens: step.response_length, first })
        } else {
            step.gold.and_then(|gold| self.over_optimised(step.score, gold, steps))
        };
        self.strikes = if cause.is_some() { self.strikes + 1 } else { 0 };
        match cause {
            None => Verdict::Fine,
            Some(cause) if self.strikes >= limits.patience.max(1) => Verdict::Stop(cause),
            Some(cause) => Verdict::Suspicious(cause),
        }
    }

    /// Remembers a step's scores. Returns a cause if the gold score is lower than it was by more than chance, and the score
    /// higher.
    fn over_optimised(&mut self, score: f64, gold: f64, steps: u64) -> Option<GuardCause> {
        let window = (steps / 4).clamp(WINDOW[0], WINDOW[1]) as usize;
        if let Some((_, before)) = self.recent.last() {
            self.noise = (self.noise.0 + (gold - before).powi(2), self.noise.1 + 1);
        }
        if self.recent.len() == window {
            self.recent.remove(0);
        }
        self.recent.push((score, gold));
        if self.recent.len() < window {
            return None;
        }
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| self.recent.iter().map(of).sum::<f64>() / window as f64;
        let (score, gold) = (mean(&|step| step.0), mean(&|step| step.1));
        let (before, best) = *self.best.get_or_insert((score, gold));
        if gold >= best {
            self.best = Some((score, gold));
        }
        // A difference of two steps has twice the variance of a step, and so has that of two means of a mean.
        let error = (self.noise.0 / self.noise.1.max(1) as f64 / window as f64).sqrt();
        (gold < best - FALL * error && score > before).then_some(GuardCause::OverOptimised {
            best,
            gold,
            before,
            score,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ppo::statistics::{Scores, of_episodes};

    fn step(change: impl FnOnce(&mut Statistics)) -> Statistics {
        let nothing = Scores { raw: Vec::new(), counted: Vec::new() };
        let mut step = Statistics { response_length: 20.0, kl: 1.0, ..of_episodes(0, &[], &nothing, &[]) };
        change(&mut step);
        step
    }

    fn says(verdict: Verdict, words: &str) -> bool {
        matches!(verdict, Verdict::Stop(cause) if cause.to_string().contains(words))
    }

    #[test]
    fn what_lasts_stops_the_run() {
        let limits = Limits { kl: 30.0, ..Limits::default() };
        let mut guards = Guards::default();
        let mut check = |change: fn(&mut Statistics)| guards.check(&step(change), &limits, 200);
        assert_eq!(check(|_| ()), Verdict::Fine);
        assert!(matches!(check(|step| step.kl = 31.0), Verdict::Suspicious(_)));
        assert_eq!(check(|_| ()), Verdict::Fine, "a single one is forgiven");
        for _ in 0..2 {
            assert!(matches!(check(|step| step.repetition = 0.9), Verdict::Suspicious(_)));
        }
        assert!(says(check(|step| step.repetition = 0.9), "90 %"));
        check(|_| ());
        for _ in 0..2 {
            check(|step| step.response_length = 3.0);
        }
        assert!(says(check(|step| step.response_length = 3.0), "at first they had 20.0"));
        check(|_| ());
        for _ in 0..2 {
            check(|step| step.sampling_gap = 13.0);
        }
        assert!(says(check(|step| step.sampling_gap = 13.0), "a kernel is wrong"));
        check(|_| ());
        for _ in 0..2 {
            check(|step| step.kl = 31.0);
        }
        assert!(says(check(|step| step.kl = 31.0), "31.00 nats"));
    }

    #[test]
    fn a_gold_score_that_falls_while_the_score_rises_stops_the_run() {
        let noise = |number: usize| [0.02, -0.02, 0.01, -0.01][number % 4];
        let run_of = |steps: usize, gold: fn(f64) -> f64, score: fn(f64) -> f64| {
            let mut guards = Guards::default();
            (0..steps).find(|number| {
                let time = *number as f64 / steps as f64;
                let step = step(|step| (step.score, step.gold) = (score(time), Some(gold(time) + noise(*number))));
                says(guards.check(&step, &Limits::default(), steps as u64), "fools its judge")
            })
        };
        let run = |gold, score| run_of(100, gold, score);
        let peak = |time: f64| 0.6 - (time - 0.5).powi(2);
        let stopped = run(peak, |time| time).expect("over-optimised");
        assert!((65..90).contains(&stopped), "{stopped}");
        assert_eq!(run(peak, |time| -time), None, "a run whose score falls too is bad, but fools nobody");
        assert_eq!(run(|time| time, |time| time), None);
        assert_eq!(run(|_| 0.5, |time| time), None, "noise is no fall");
        let short = run_of(20, |time| if time < 0.5 { 0.6 } else { 0.3 }, |time| time);
        assert!(short.is_some(), "a round of few steps");
    }

    #[test]
    fn what_is_no_number_stops_at_once() {
        let mut guards = Guards::default();
        let mut check = |change: fn(&mut Statistics)| guards.check(&step(change), &Limits::default(), 200);
        assert!(says(check(|step| step.entropy = f64::NAN), "entropy"));
        assert!(says(check(|step| step.gradient_norm = f32::INFINITY), "gradient"));
    }
}
