//! How the row kernels (`lib/rows.wgsl`) share out their rows: one row per invocation or many lanes per row.

use super::fold;
use crate::gpu::{Gpu, Kernel, Variant};

/// Lanes per row and rows per workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name under which the tuner remembers it.
    pub name: &'static str,
    /// Invocations that share one row; a power of two.
    pub lanes: u32,
    /// Rows per workgroup.
    pub rows: u32,
}

/// Every plan that could be chosen.
pub const PLANS: &[Plan] = &[
    Plan { name: "1x8", lanes: 1, rows: 8 },
    Plan { name: "1x64", lanes: 1, rows: 64 },
    Plan { name: "8x8", lanes: 8, rows: 8 },
    Plan { name: "32x2", lanes: 32, rows: 2 },
    Plan { name: "256x1", lanes: 256, rows: 1 },
];

/// The class of row shapes for which one choice is made: sizes by powers of two.
pub fn class(rows: usize, width: usize) -> String {
    format!("rows {}x{}", rows.next_power_of_two(), width.next_power_of_two())
}

/// Most elements of a row that one lane walks over. Mesa's software driver ends all loops of an invocation, without a word,
/// after 65,535 rounds in all; a row kernel walks over its row up to four times.
const LONGEST: usize = 8192;

impl Plan {
    /// The plan to use for `rows` rows of `width` elements.
    pub fn choose(gpu: &Gpu, rows: usize, width: usize) -> Self {
        let find = |name: &str| PLANS.iter().find(|plan| plan.name == name && plan.fits(gpu, width));
        let shape = [rows as u32, width as u32];
        let choice = gpu.tuner().choice(&class(rows, width), &shape, |name| find(name).is_some());
        let widest = &PLANS[PLANS.len() - 1];
        *choice.and_then(|name| find(&name)).unwrap_or(if PLANS[3].fits(gpu, width) { &PLANS[3] } else { widest })
    }

    /// Whether this plan may run over rows of `width` elements on an adapter.
    pub fn fits(self, gpu: &Gpu, width: usize) -> bool {
        self.lanes * self.rows <= gpu.capabilities().invocations && width.div_ceil(self.lanes as usize) <= LONGEST
    }

    /// `kernel` under this plan.
    pub fn variant(self, kernel: &'static Kernel) -> Variant {
        kernel.set("LANES", self.lanes).set("ROWS", self.rows)
    }

    /// The grid for `rows` rows.
    pub fn grid(self, gpu: &Gpu, rows: usize) -> [u32; 3] {
        fold(gpu, rows.div_ceil(self.rows as usize))
    }
}
