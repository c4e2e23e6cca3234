//! How the row kernels divide their rows: one row per invocation or many lanes per row (`lib/row_index.wgsl`), summed
//! through workgroup memory or within a subgroup, and read as single elements or vectors of four (`lib/elements*.wgsl`).

use crate::{
    gpu::{Constant, Gpu, Kernel, Variant},
    tensor::DType,
};

/// Lanes per row and rows per workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The name under which the tuner remembers it.
    pub name: &'static str,
    /// Invocations that share one row; a power of two.
    pub lanes: u32,
    /// Rows per workgroup.
    pub rows: u32,
    /// Whether the lanes of a row are one subgroup, so that no barrier is needed: every subgroup
    /// must have exactly `lanes`.
    pub subgroup: bool,
}

/// Every plan that can be chosen.
pub const PLANS: &[Plan] = &[
    Plan::plain("1x8", 1, 8),
    Plan::plain("1x64", 1, 64),
    Plan::plain("8x8", 8, 8),
    Plan::plain("32x2", 32, 2),
    Plan::plain("256x1", 256, 1),
    Plan::subgroup("subgroup 8x1", 8, 1),
    Plan::subgroup("subgroup 8x8", 8, 8),
    Plan::subgroup("subgroup 32x2", 32, 2),
];

/// Without tuning, the first of these that fits is used. Subgroups of 8 won wherever they were measured.
const DEFAULTS: &[&str] = &["subgroup 8x8", "32x2", "256x1"];

/// The class of row shapes that share one choice: sizes rounded up to powers of two, and how rows are read.
pub fn class(rows: usize, width: usize) -> String {
    let by = if elements(width) == 1 { "" } else { " by 4" };
    format!("rows {}x{}{by}", rows.next_power_of_two(), width.next_power_of_two())
}

/// Maximum number of elements (or vectors) of a row that one lane loops over. Mesa's software driver silently ends all
/// loops of an invocation after 65,535 rounds in total, and a row kernel loops over its row up to three times.
const LONGEST: usize = 8192;

/// How many elements of a row of `width` are read, computed and written at a time: `EACH` in `lib/elements*.wgsl`.
pub fn elements(width: usize) -> usize {
    if width % 4 == 0 { 4 } else { 1 }
}

/// `variant` for rows of `width`, with as many [`elements`] at a time as the width allows.
pub fn by_elements(variant: Variant, width: usize) -> Variant {
    match elements(width) {
        1 => variant,
        _ => variant.set("elements", Constant::File("lib/elements_vec4.wgsl")),
    }
}

/// The WGSL type of [`elements`] of a tensor of `dtype`.
pub fn stored(dtype: DType, width: usize) -> Constant {
    if elements(width) == 1 { dtype.scalar() } else { dtype.vec4() }
}

impl Plan {
    /// A plan for every adapter.
    pub const fn plain(name: &'static str, lanes: u32, rows: u32) -> Self {
        Self { name, lanes, rows, subgroup: false }
    }

    const fn subgroup(name: &'static str, lanes: u32, rows: u32) -> Self {
        Self { name, lanes, rows, subgroup: true }
    }

    /// The plan to use for `rows` rows of `width` elements.
    pub fn choose(gpu: &Gpu, rows: usize, width: usize) -> Self {
        let find = |name: &str| PLANS.iter().find(|plan| plan.name == name && plan.fits(gpu, width));
        let shape = [rows as u32, width as u32];
        let widest = || PLANS.iter().max_by_key(|plan| plan.lanes).unwrap_or(&PLANS[0]);
        let default = || DEFAULTS.iter().find_map(|name| find(name)).unwrap_or_else(widest);
        let usable = |name: &str| find(name).is_some();
        let choice = gpu.tuner().choice(&class(rows, width), &shape, usable, || default().name);
        *find(&choice).unwrap_or_else(widest)
    }

    /// Whether this plan may run over rows of `width` elements on an adapter.
    pub fn fits(self, gpu: &Gpu, width: usize) -> bool {
        let rounds = (width / elements(width)).div_ceil(self.lanes as usize);
        let capabilities = gpu.capabilities();
        capabilities.allows(self.name)
            && self.lanes * self.rows <= capabilities.invocations
            && rounds <= LONGEST
            && (!self.subgroup || capabilities.subgroups_of(self.lanes))
    }

    /// `kernel` with this plan, for rows of `width` elements.
    pub fn variant(self, kernel: &'static Kernel, width: usize) -> Variant {
        let variant = by_elements(kernel.set("LANES", self.lanes).set("ROWS", self.rows), width);
        if self.subgroup { variant.set("rows", Constant::File("lib/rows_subgroup.wgsl")) } else { variant }
    }

    /// The grid for `rows` rows.
    pub fn grid(self, gpu: &Gpu, rows: usize) -> [u32; 3] {
        gpu.grid(rows.div_ceil(self.rows as usize))
    }
}
