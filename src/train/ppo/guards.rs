//! Guards, which tell a run that goes wrong from one that learns.

use serde::{Deserialize, Serialize};

use super::{settings::Limits, statistics::Statistics};
use crate::{error::GuardCause, train::run::Verdict};

/// A larger difference in nats between sampling and training is not explained by rounding.
const LARGEST_GAP: f64 = 0.1;

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
}

impl Guards {
    /// Judges a step.
    pub fn check(&mut self, step: &Statistics, limits: &Limits) -> Verdict {
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
            None
        };
        self.strikes = if cause.is_some() { self.strikes + 1 } else { 0 };
        match cause {
            None => Verdict::Fine,
            Some(cause) if self.strikes >= limits.patience.max(1) => Verdict::Stop(cause),
            Some(cause) => Verdict::Suspicious(cause),
        }
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
        let mut check = |change: fn(&mut Statistics)| guards.check(&step(change), &limits);
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
    fn what_is_no_number_stops_at_once() {
        let mut guards = Guards::default();
        let mut check = |change: fn(&mut Statistics)| guards.check(&step(change), &Limits::default());
        assert!(says(check(|step| step.entropy = f64::NAN), "entropy"));
        assert!(says(check(|step| step.gradient_norm = f32::INFINITY), "gradient"));
    }
}
