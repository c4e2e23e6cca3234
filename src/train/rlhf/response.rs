//! Where a response ends, and what one without an end costs.

/// The index from which stop tokens count in lm-human-preferences.
pub const EARLIEST_STOP: usize = 16;

/// A response cut at its stop token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Tokens that are kept, the stop token among them; what follows is padding and is not scored.
    pub length: usize,
    /// Whether there was a stop token.
    pub stopped: bool,
}

/// Truncates at the first `stop` token at or after index `earliest`; without one the whole response stays.
pub fn truncate(response: &[u32], stop: u32, earliest: usize) -> Truncated {
    match response.iter().enumerate().find(|(index, token)| *index >= earliest && **token == stop) {
        Some((index, _)) => Truncated { length: index + 1, stopped: true },
        None => Truncated { length: response.len(), stopped: false },
    }
}

/// What becomes of the score of a response that never stops.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingStop {
    /// It keeps its score.
    Allowed,
    /// It gets this score instead (lm-human-preferences: -1).
    Score(f32),
    /// Its score less this.
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
    use super::{MissingStop, Truncated, truncate};

    #[test]
    fn cuts_at_the_first_stop_that_counts() {
        let response = [7, 0, 5, 0, 3, 0];
        assert_eq!(
            truncate(&response, 0, 3),
            Truncated { length: 4, stopped: true },
            "a stop at the index itself counts"
        );
        assert_eq!(truncate(&response, 0, 4), Truncated { length: 6, stopped: true });
        assert_eq!(truncate(&response, 0, 6), Truncated { length: 6, stopped: false });
        assert_eq!(truncate(&response, 9, 0), Truncated { length: 6, stopped: false });
        assert_eq!(truncate(&[], 0, 0), Truncated { length: 0, stopped: false });
    }

    #[test]
    fn a_missing_stop_costs() {
        assert_eq!(MissingStop::Score(-1.0).apply(2.0, false), -1.0);
        assert_eq!(MissingStop::Penalty(3.0).apply(2.0, false), -1.0);
        assert_eq!(MissingStop::Penalty(3.0).apply(2.0, true), 2.0);
        assert_eq!(MissingStop::Allowed.apply(2.0, false), 2.0);
    }
}
