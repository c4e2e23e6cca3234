//! The attention kernels that a tuner may choose from.

use super::attention::Heads;
use crate::{
    gpu::{Capabilities, Constant, Gpu, Kernel, Variant},
    kernels,
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
    /// New keys and values into the cache.
    KV_APPEND = "kv_append";
    /// New queries over the cache.
    ATTENTION_DECODE = "attention_decode";
}

/// One set of forward and backward kernels.
#[derive(Debug)]
pub struct Spec {
    /// The name under which the tuner remembers it.
    pub name: &'static str,
    /// Rows (queries or keys) per workgroup, one per invocation.
    pub rows: u32,
    /// Lanes share the loads of a row by broadcasts; every subgroup must have exactly 8 lanes.
    pub shares: bool,
}

/// Every variant, the plainest first.
pub static VARIANTS: &[Spec] = &[
    Spec { name: "rows 64", rows: 64, shares: false },
    Spec { name: "rows 8", rows: 8, shares: false },
    Spec { name: "shared rows 8", rows: 8, shares: true },
];

/// The variant for a context length: the tuner's, else the default.
pub fn choose(gpu: &Gpu, heads: Heads, context: usize) -> &'static Spec {
    let class = format!("attention {}x{}", context.next_power_of_two(), heads.dim);
    let shape = [context, heads.query, heads.key_value, heads.dim].map(|number| number as u32);
    let fitting = || VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities()));
    let usable = |name: &str| fitting().any(|spec| spec.name == name);
    let choice = gpu.tuner().choice(&class, &shape, usable);
    fitting().find(|spec| choice.as_deref() == Some(spec.name)).or_else(|| fitting().next()).unwrap_or(&VARIANTS[0])
}

impl Spec {
    /// Whether the variant may run on an adapter with these capabilities.
    pub fn fits(&self, capabilities: &Capabilities) -> bool {
        self.rows <= capabilities.invocations && (!self.shares || capabilities.subgroups_of(self.rows))
    }

    fn set(&self, kernel: &'static Kernel, heads: Heads) -> Variant {
        kernel.set("D4", heads.dim as u32 / 4).set("WORKGROUP", self.rows)
    }

    fn by_rows(&self, kernel: &'static Kernel, heads: Heads) -> Variant {
        let variant = self.set(kernel, heads);
        if self.shares { variant.set("rows", Constant::File("lib/attention_shared.wgsl")) } else { variant }
    }

    /// The forward kernel.
    pub fn forward(&self, heads: Heads) -> Variant {
        self.by_rows(&ATTENTION_FORWARD, heads)
    }

    /// The kernel of the shared row sums.
    pub fn delta(&self, heads: Heads) -> Variant {
        self.set(&ATTENTION_DELTA, heads)
    }

    /// The kernel of the queries' gradient.
    pub fn backward_q(&self, heads: Heads) -> Variant {
        self.by_rows(&ATTENTION_BACKWARD_Q, heads)
    }

    /// The kernel of the keys' and values' gradient.
    pub fn backward_kv(&self, heads: Heads) -> Variant {
        self.by_rows(&ATTENTION_BACKWARD_KV, heads)
    }

    /// The grid over `context` rows, heads and batch.
    pub fn grid(&self, context: usize, heads: usize, batch: usize) -> [u32; 3] {
        [context.div_ceil(self.rows as usize) as u32, heads as u32, batch as u32]
    }
}
