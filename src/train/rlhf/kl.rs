//! The coefficient of the KL penalty: fixed, or steered towards a target (Ziegler et al. 2019, section 2.2).

/// How the coefficient changes. The state is saved in checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum KlController {
    /// Constant.
    Fixed {
        /// The coefficient.
        beta: f64,
    },
    /// Moves towards `target`, by at most a fifth per `horizon` episodes.
    Adaptive {
        /// The current coefficient.
        beta: f64,
        /// Target KL in nats per episode.
        target: f64,
        /// Episodes in which the coefficient may change by the factor of the (clipped) relative error.
        horizon: f64,
    },
}

impl KlController {
    /// Relative errors are clipped to within plus and minus this.
    const LARGEST_ERROR: f64 = 0.2;

    /// lm-human-preferences' controller: beta 0.15, target 6, horizon 10,000.
    pub const ADAPTIVE: Self = Self::Adaptive { beta: 0.15, target: 6.0, horizon: 10_000.0 };

    /// The coefficient for the next batch.
    pub fn beta(&self) -> f64 {
        match *self {
            Self::Fixed { beta } | Self::Adaptive { beta, .. } => beta,
        }
    }

    /// Updates the coefficient after a batch of `episodes` whose mean KL (the sum of `log pi - log ref` over an
    /// episode's tokens) was `kl`: `beta *= 1 + clip(kl / target - 1, -0.2, 0.2) * episodes / horizon`. A KL that is
    /// not a number changes nothing.
    pub fn update(&mut self, kl: f64, episodes: usize) {
        if let Self::Adaptive { beta, target, horizon } = self {
            let error = (kl / *target - 1.0).clamp(-Self::LARGEST_ERROR, Self::LARGEST_ERROR);
            if error.is_finite() {
                *beta *= 1.0 + error * episodes as f64 / *horizon;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KlController;

    #[test]
    fn twenty_updates_far_below_the_target() {
        let mut controller = KlController::ADAPTIVE;
        for update in 0..20 {
            controller.update([4.8, 3.0, -1.0][update % 3], 512);
        }
        assert!((controller.beta() - 0.122_093).abs() < 1e-6, "{}", controller.beta());
    }

    #[test]
    fn rises_above_the_target_and_survives_a_checkpoint() {
        let mut controller = KlController::ADAPTIVE;
        controller.update(6.6, 1000);
        assert!((controller.beta() - 0.15 * 1.01).abs() < 1e-12, "{}", controller.beta());
        controller.update(f64::NAN, 1000);
        let text = serde_json::to_string(&controller).expect("JSON");
        let mut resumed: KlController = serde_json::from_str(&text).expect("JSON");
        assert_eq!(resumed, controller);
        assert!((resumed.beta() - 0.1515).abs() < 1e-12);
        // Without serde_json's `float_roundtrip`, this one would come back with another last digit.
        for beta in [0.149_520_728_900_059_93, f64::MIN_POSITIVE, 0.1 + 0.2, 1e308] {
            let kept = KlController::Fixed { beta };
            let text = serde_json::to_string(&kept).expect("JSON");
            assert_eq!(serde_json::from_str::<KlController>(&text).expect("JSON"), kept, "{text}");
        }
        resumed = KlController::Fixed { beta: 0.03 };
        resumed.update(100.0, 512);
        assert_eq!(resumed.beta(), 0.03);
    }
}
