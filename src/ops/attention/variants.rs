//! The attention kernels that the tuner may choose from.

use super::Heads;
use crate::{
    gpu::{Capabilities, Constant, Gpu, Kernel, Variant},
    kernels,
    tensor::DType,
};

kernels! {
    /// Online softmax, one query per invocation.
    ATTENTION_FORWARD = "attention_forward";
    /// Row sums of `grad_out * out`.
    ATTENTION_DELTA = "attention_delta";
    /// The gradient of the queries.
    ATTENTION_BACKWARD_Q = "attention_backward_q";
    /// The gradients of keys and values.
    ATTENTION_BACKWARD_KV = "attention_backward_kv";
}

/// How lanes read rows that all of them need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Every lane loads the whole row.
    Plain,
    /// Each lane loads an eighth of the row and broadcasts it; every subgroup must have exactly 8 lanes.
    Shared,
    /// Like `Shared` but with shuffles, for subgroups of exactly the variant's lanes.
    Shuffled,
    /// Workgroups load tiles of [`TILE`] rows into workgroup memory.
    Tiles,
}

/// The widest head.
const WIDEST: usize = 128;

/// Rows per tile.
pub const TILE: u32 = 16;

/// One set of forward and backward kernels.
#[derive(Debug)]
pub struct AttentionVariant {
    /// The name under which the tuner remembers it.
    pub name: &'static str,
    /// Invocations per workgroup.
    pub lanes: u32,
    /// Rows (queries or keys) per invocation.
    pub queries: u32,
    /// How the other side's rows are read.
    pub rows: Rows,
}

/// Every variant, the plainest first. The grid of each kernel is `[ceil(context / (lanes * queries)), heads, batch]`,
/// with key-value heads for the gradients of keys and values.
pub static VARIANTS: &[AttentionVariant] = &[
    AttentionVariant { name: "rows 64", lanes: 64, queries: 1, rows: Rows::Plain },
    AttentionVariant { name: "rows 8", lanes: 8, queries: 1, rows: Rows::Plain },
    AttentionVariant { name: "rows 8x2", lanes: 8, queries: 2, rows: Rows::Plain },
    AttentionVariant { name: "tiles 64", lanes: 64, queries: 1, rows: Rows::Tiles },
    // Each read of a tile serves two rows, for adapters with enough registers per lane.
    AttentionVariant { name: "tiles 64x2", lanes: 64, queries: 2, rows: Rows::Tiles },
    AttentionVariant { name: "shuffled rows 32", lanes: 32, queries: 1, rows: Rows::Shuffled },
    AttentionVariant { name: "shuffled rows 32x2", lanes: 32, queries: 2, rows: Rows::Shuffled },
    AttentionVariant { name: "shuffled rows 8x2", lanes: 8, queries: 2, rows: Rows::Shuffled },
    AttentionVariant { name: "shared rows 8", lanes: 8, queries: 1, rows: Rows::Shared },
    AttentionVariant { name: "shared rows 8x2", lanes: 8, queries: 2, rows: Rows::Shared },
];

/// The variant for a context length and a storage type of queries, keys and values: the tuner's
/// choice, else the default.
pub fn choose(gpu: &Gpu, heads: Heads, context: usize, dtype: DType) -> &'static AttentionVariant {
    let half = dtype == DType::F16;
    let suffix = if half { " f16" } else { "" };
    let class = format!("attention {}x{}{suffix}", context.next_power_of_two(), heads.dim);
    let shape = [context, heads.query, heads.key_value, heads.dim, usize::from(half)].map(|number| number as u32);
    let fitting = || VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities(), heads.dim));
    let usable = |name: &str| fitting().any(|spec| spec.name == name);
    // Untuned default: loads shared by subgroups won by far wherever they were measured.
    let shared = || fitting().rfind(|spec| spec.rows == Rows::Shared);
    let default = || shared().or_else(|| fitting().next()).unwrap_or(&VARIANTS[0]);
    let choice = gpu.tuner().choice(&class, &shape, usable, || default().name);
    fitting().find(|spec| spec.name == choice).unwrap_or(&VARIANTS[0])
}

impl AttentionVariant {
    /// Whether the variant may run on an adapter with these capabilities, for heads of width `dim`: several wide rows per
    /// invocation do not fit its registers anywhere.
    pub fn fits(&self, capabilities: &Capabilities, dim: usize) -> bool {
        capabilities.allows(self.name)
            && (self.queries == 1 || self.queries as usize * dim <= WIDEST)
            && self.lanes * self.queries <= capabilities.invocations
            && match self.rows {
                Rows::Plain => true,
                Rows::Shared | Rows::Shuffled => capabilities.subgroups_of(self.lanes),
                Rows::Tiles => 2 * TILE * WIDEST as u32 * 4 <= capabilities.workgroup_memory,
            }
    }

    fn set(&self, kernel: &'static Kernel, heads: Heads, workgroup: u32) -> Variant {
        kernel.set("D4", heads.dim as u32 / 4).set("WORKGROUP", workgroup)
    }

    fn by_rows(&self, kernel: &'static Kernel, heads: Heads) -> Variant {
        let variant = self.set(kernel, heads, self.lanes).set("QUERIES", self.queries);
        match self.rows {
            Rows::Plain => variant,
            Rows::Shared => variant.set("rows", Constant::File("lib/attention_shared.wgsl")),
            Rows::Shuffled => variant.set("rows", Constant::File("lib/attention_shuffled.wgsl")),
            Rows::Tiles => variant.set("rows", Constant::File("lib/attention_tiles.wgsl")).set("TILE", TILE),
        }
    }

    /// The forward kernel.
    pub fn forward(&self, heads: Heads) -> Variant {
        self.by_rows(&ATTENTION_FORWARD, heads)
    }

    /// The kernel for the row sums that both gradients share.
    pub fn delta(&self, heads: Heads) -> Variant {
        // One row per invocation, on the same grid as the others.
        self.set(&ATTENTION_DELTA, heads, self.lanes * self.queries)
    }

    /// The kernel for the queries' gradient.
    pub fn backward_q(&self, heads: Heads) -> Variant {
        self.by_rows(&ATTENTION_BACKWARD_Q, heads)
    }

    /// The kernel for the keys' and values' gradient.
    pub fn backward_kv(&self, heads: Heads) -> Variant {
        self.by_rows(&ATTENTION_BACKWARD_KV, heads)
    }

    /// The grid over `context` rows, heads and batch.
    pub fn grid(&self, context: usize, heads: usize, batch: usize) -> [u32; 3] {
        [context.div_ceil((self.lanes * self.queries) as usize) as u32, heads as u32, batch as u32]
    }
}
