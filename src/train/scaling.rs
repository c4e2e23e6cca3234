//! Dynamic loss scaling (Micikevicius et al. 2018, "Mixed Precision Training"): losses are scaled up so that small
//! gradients survive in f16, as far as large gradients allow.

use serde::{Deserialize, Serialize};

/// The largest scale: more would gain nothing, and sums of squares would approach f32's maximum.
const LARGEST: f32 = 16_777_216.0;
/// Below this scale, gradients overflow for some other reason.
const SMALLEST: f32 = 1.0 / 1024.0;
/// Good steps in a row after which a larger scale is tried.
const PATIENCE: u32 = 1000;

/// The scale of the loss, and its history. Saved with a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// Losses are multiplied by this, a power of two.
    pub scale: f32,
    /// Good steps since the last change of the scale.
    good: u32,
    /// Steps that were skipped.
    pub skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { scale: 65_536.0, good: 0, skipped: 0 }
    }
}

impl LossScale {
    /// Records a step's gradient norm. Norms arrive a step late, so the step after an overflow may overflow as well;
    /// both count. Returns false if the gradients are not finite at any scale.
    #[must_use]
    pub fn observe(&mut self, norm: f32) -> bool {
        if !norm.is_finite() {
            self.scale /= 2.0;
            self.good = 0;
            self.skipped += 1;
            return self.scale >= SMALLEST;
        }
        self.good += 1;
        if self.good >= PATIENCE {
            self.scale = (self.scale * 2.0).min(LARGEST);
            self.good = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, LossScale, PATIENCE};

    #[test]
    fn falls_at_once_and_rises_with_patience() {
        let mut scale = LossScale::default();
        assert!(scale.observe(f32::INFINITY) && scale.observe(f32::NAN));
        assert_eq!((scale.scale, scale.skipped), (16_384.0, 2));
        (1..PATIENCE).for_each(|_| assert!(scale.observe(1.0)));
        assert_eq!(scale.scale, 16_384.0);
        assert!(scale.observe(1.0));
        assert_eq!(scale.scale, 32_768.0);
        (0..100 * PATIENCE).for_each(|_| assert!(scale.observe(1.0)));
        assert_eq!(scale.scale, LARGEST);
        while scale.scale > 1e-3 {
            assert!(scale.observe(f32::NAN));
        }
        assert!(!scale.observe(f32::NAN), "no scale helps");
    }
}
