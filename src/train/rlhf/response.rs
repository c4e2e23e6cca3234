//! From where on stop tokens end a response, and what a missing one costs.

/// The index from which stop tokens count in lm-human-preferences.
pub const EARLIEST_STOP: usize = 16;

/// What happens to the score of a response that never stops.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingStop {
    /// It keeps its score.
    Allowed,
    /// It gets this score instead (lm-human-preferences: -1).
    Score(f32),
    /// Its score is reduced by this.
    Penalty(f32),
}

impl MissingStop {
    /// The score that counts.
    pub fn apply(self, score: f32, stopped: bool) -> f32 {
        match self {
            Self::Score(instead) if !stopped => instead,
            Self::Penalty(penalty) if !stopped => score - penalty,
            _ => score,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MissingStop;

    #[test]
    fn a_missing_stop_costs() {
        assert_eq!(MissingStop::Score(-1.0).apply(2.0, false), -1.0);
        assert_eq!(MissingStop::Penalty(3.0).apply(2.0, false), -1.0);
        assert_eq!(MissingStop::Penalty(3.0).apply(2.0, true), 2.0);
        assert_eq!(MissingStop::Allowed.apply(2.0, false), 2.0);
    }
}
