//! The attention kernels that the tuner may choose from.

use super::{
    Heads,
    blocks::{Block, Budget, FEW, MANY, MOST, Pass},
};
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
    /// Online softmax, a block of queries per workgroup.
    ATTENTION_BLOCK_FORWARD = "attention_block_forward";
    /// The gradient of the queries, by blocks.
    ATTENTION_BLOCK_BACKWARD_Q = "attention_block_backward_q";
    /// The gradients of keys and values, by blocks.
    ATTENTION_BLOCK_BACKWARD_KV = "attention_block_backward_kv";
}

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A lane computes whole rows (queries or keys).
    Rows {
        /// How many.
        queries: u32,
        /// How the other side's rows are read.
        read: Read,
    },
    /// A workgroup computes a block of rows together, and visits the other side in blocks.
    Blocks {
        /// The number of f32 that a lane keeps in registers: results and scores of its four rows, not the operands.
        kept: u32,
        /// Bytes of workgroup memory.
        memory: u32,
    },
}

/// How lanes read rows that all of them need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Every lane loads the whole row.
    Plain,
    /// Each lane loads an eighth of the row and broadcasts it; every subgroup must have exactly 8 lanes.
    Shared,
    /// Like `Shared` but with shuffles, for subgroups of exactly the variant's lanes.
    Shuffled,
    /// Workgroups load tiles of [`TILE`] rows into workgroup memory.
    Tiles,
}

/// The number of columns that a lane of the row kernels takes with a software driver: more of them take it half a minute to
/// compile. Only the plainest variant and the fastest one take a row of any width.
const WIDEST: u32 = 128;

/// The number of f32 that a GPU's lane can keep in registers beside its operands. A lane of the row kernels keeps up to
/// four vectors per row (a key, its value and their gradients); with more than this, all of RDNA3, Ampere, Adreno and M1
/// spill (Mesa 26.2.6's compilers), and up to 95 KB a wave.
const REGISTERS: u32 = 128;

const PASSES: [Pass; 3] = [Pass::Forward, Pass::BackwardQ, Pass::BackwardKv];

/// Rows per tile.
pub const TILE: u32 = 16;

/// One set of forward and backward kernels.
#[derive(Debug)]
pub struct AttentionVariant {
    /// The name under which the tuner remembers it.
    pub name: &'static str,
    /// Invocations per workgroup.
    pub lanes: u32,
    /// How they share the work.
    pub kind: Kind,
}

const fn rows(name: &'static str, lanes: u32, queries: u32, read: Read) -> AttentionVariant {
    AttentionVariant { name, lanes, kind: Kind::Rows { queries, read } }
}

const fn blocks(name: &'static str, lanes: u32, kept: u32, memory: u32) -> AttentionVariant {
    AttentionVariant { name, lanes, kind: Kind::Blocks { kept, memory } }
}

/// Every variant, the plainest first.
pub static VARIANTS: &[AttentionVariant] = &[
    rows("rows 64", 64, 1, Read::Plain),
    rows("rows 8", 8, 1, Read::Plain),
    rows("rows 8x2", 8, 2, Read::Plain),
    rows("tiles 64", 64, 1, Read::Tiles),
    rows("shuffled rows 32", 32, 1, Read::Shuffled),
    rows("shuffled rows 8x2", 8, 2, Read::Shuffled),
    rows("shared rows 8", 8, 1, Read::Shared),
    rows("shared rows 8x2", 8, 2, Read::Shared),
    blocks("narrow blocks 64", 64, FEW, 16 << 10),
    blocks("narrow blocks 128", 128, FEW, 24 << 10),
    blocks("small blocks 128", 128, MANY, 16 << 10),
    blocks("blocks 128", 128, MANY, 24 << 10),
    blocks("wide blocks 128", 128, MOST, 32 << 10),
];

/// The variant for a context length and a storage type of queries, keys and values: the tuner's
/// choice, else the default.
pub fn choose(gpu: &Gpu, heads: Heads, context: usize, dtype: DType) -> &'static AttentionVariant {
    let half = dtype == DType::F16;
    let suffix = if half { " f16" } else { "" };
    let length = context.next_power_of_two();
    let class = format!("attention {length}x{}{suffix}", heads.dim);
    let shape = [context, heads.query, heads.key_value, heads.dim, usize::from(half)].map(|number| number as u32);
    let capabilities = gpu.capabilities();
    let fitting = || VARIANTS.iter().filter(|spec| spec.fits(capabilities, heads.dim));
    let usable = |name: &str| fitting().any(|spec| spec.name == name);
    // Untuned default: on the processor, loads shared by subgroups won by far wherever they were measured; on a GPU, the
    // largest blocks.
    let wanted = |spec: &&AttentionVariant| match spec.kind {
        Kind::Rows { read, .. } => capabilities.processor && read == Read::Shared,
        Kind::Blocks { .. } => !capabilities.processor,
    };
    // In a short text, larger blocks would leave lanes idle.
    let filled = |spec: &&AttentionVariant| {
        PASSES.into_iter().all(|pass| spec.block(pass, heads.dim).is_none_or(|block| block.rows as usize <= length))
    };
    let default = || {
        let found = fitting().filter(wanted).rfind(filled).or_else(|| fitting().find(wanted));
        found.or_else(|| fitting().next()).unwrap_or(&VARIANTS[0])
    };
    let choice = gpu.tuner().choice(&class, &shape, usable, || default().name);
    fitting().find(|spec| spec.name == choice).unwrap_or(&VARIANTS[0])
}

impl AttentionVariant {
    /// Whether the variant may run on an adapter with these capabilities, for heads of width `dim`. The plainest one
    /// always may, unless it is left unused.
    pub fn fits(&self, capabilities: &Capabilities, dim: usize) -> bool {
        let vectors = dim as u32 / 4;
        let enough = match self.kind {
            Kind::Rows { queries, read } => {
                let plainest = (queries, read, self.lanes) == (1, Read::Plain, 64);
                let registers = 16 * vectors * queries;
                let suits = match capabilities.processor {
                    true => queries * 4 * vectors <= WIDEST || (queries, read) == (1, Read::Shared),
                    // A workgroup smaller than a subgroup leaves lanes idle.
                    false => {
                        registers <= REGISTERS && self.lanes >= capabilities.subgroups.map_or(32, |(least, _)| least)
                    }
                };
                (plainest || suits)
                    && self.lanes * queries <= capabilities.invocations
                    && match read {
                        Read::Plain => true,
                        Read::Shared | Read::Shuffled => capabilities.subgroups_of(self.lanes),
                        Read::Tiles => 32 * TILE * vectors <= capabilities.workgroup_memory,
                    }
            }
            Kind::Blocks { kept, .. } => {
                // The smallest variants are sought within this.
                let least = 16 << 10;
                let limit = capabilities.workgroup_memory;
                let most = match capabilities.subgroups {
                    _ if capabilities.processor => limit,
                    // A workgroup of few subgroups has nobody to compute while it waits: two must fit.
                    Some((64.., _)) => (limit / 2).max(least),
                    // Where workgroups may have no more than 32 KiB, the largest would leave no room for a second one.
                    _ if kept == MOST => 2 * limit / 3,
                    _ => limit,
                };
                self.lanes <= capabilities.invocations
                    && (kept == FEW || capabilities.many_registers())
                    && PASSES
                        .into_iter()
                        .all(|pass| self.block(pass, dim).is_some_and(|block| block.memory <= most.min(limit)))
            }
        };
        capabilities.allows(self.name) && enough
    }

    /// Whether there is such a kernel for heads of this width at all.
    pub fn takes(&self, dim: usize) -> bool {
        matches!(self.kind, Kind::Rows { .. }) || PASSES.into_iter().all(|pass| self.block(pass, dim).is_some())
    }

    /// Whether lanes meet at barriers.
    pub fn has_barriers(&self) -> bool {
        matches!(self.kind, Kind::Blocks { .. } | Kind::Rows { read: Read::Tiles, .. })
    }

    fn set(&self, kernel: &'static Kernel, heads: Heads, workgroup: u32) -> Variant {
        kernel.set("D4", heads.dim as u32 / 4).set("WORKGROUP", workgroup)
    }

    fn by_rows(&self, kernel: &'static Kernel, heads: Heads, (queries, read): (u32, Read)) -> Planned {
        let variant = self.set(kernel, heads, self.lanes).set("QUERIES", queries);
        let variant = match read {
            Read::Plain => variant,
            Read::Shared => variant.set("rows", Constant::File("lib/attention_shared.wgsl")),
            Read::Shuffled => variant.set("rows", Constant::File("lib/attention_shuffled.wgsl")),
            Read::Tiles => variant.set("rows", Constant::File("lib/attention_tiles.wgsl")).set("TILE", TILE),
        };
        Planned { variant, rows: self.lanes * queries }
    }

    /// The block for heads of width `dim`; `None` for the row kernels, and if there is none.
    fn block(&self, pass: Pass, dim: usize) -> Option<Block> {
        match self.kind {
            Kind::Rows { .. } => None,
            Kind::Blocks { kept, memory } => {
                Block::new(pass, Budget { lanes: self.lanes, kept, memory }, dim as u32 / 4)
            }
        }
    }

    fn by_blocks(&self, pass: Pass, heads: Heads) -> Planned {
        let block = self.block(pass, heads.dim).expect("takes() has asked");
        let kernel = match pass {
            Pass::Forward => &ATTENTION_BLOCK_FORWARD,
            Pass::BackwardQ => &ATTENTION_BLOCK_BACKWARD_Q,
            Pass::BackwardKv => &ATTENTION_BLOCK_BACKWARD_KV,
        };
        let variant = self.set(kernel, heads, self.lanes).set("ROWS", block.rows).set("COLUMNS", block.columns);
        Planned { variant: variant.set("DEPTH", block.depth).set("SLICE", block.slice), rows: block.rows }
    }

    fn planned(&self, pass: Pass, heads: Heads) -> Planned {
        let kernel = match pass {
            Pass::Forward => &ATTENTION_FORWARD,
            Pass::BackwardQ => &ATTENTION_BACKWARD_Q,
            Pass::BackwardKv => &ATTENTION_BACKWARD_KV,
        };
        match self.kind {
            Kind::Rows { queries, read } => self.by_rows(kernel, heads, (queries, read)),
            Kind::Blocks { .. } => self.by_blocks(pass, heads),
        }
    }

    /// The forward kernel.
    pub fn forward(&self, heads: Heads) -> Planned {
        self.planned(Pass::Forward, heads)
    }

    /// The kernel for the row sums that both gradients share.
    pub fn delta(&self, heads: Heads) -> Planned {
        let rows = match self.kind {
            Kind::Rows { queries, .. } => self.lanes * queries,
            Kind::Blocks { .. } => self.lanes,
        };
        // One row per invocation.
        Planned { variant: self.set(&ATTENTION_DELTA, heads, rows), rows }
    }

    /// The kernel for the queries' gradient.
    pub fn backward_q(&self, heads: Heads) -> Planned {
        self.planned(Pass::BackwardQ, heads)
    }

    /// The kernel for the keys' and values' gradient.
    pub fn backward_kv(&self, heads: Heads) -> Planned {
        self.planned(Pass::BackwardKv, heads)
    }
}

/// A kernel, and how its grid covers the rows.
pub struct Planned {
    /// The kernel.
    pub variant: Variant,
    /// Rows (queries or keys) per workgroup.
    pub rows: u32,
}

impl Planned {
    /// The kernel for rows of one text or, with `segments`, of several.
    #[must_use]
    pub fn segmented(self, segments: bool) -> Self {
        Self { variant: self.variant.set("SEGMENTS", segments), ..self }
    }

    /// The grid over `context` rows, heads (for the gradients of keys and values, those of keys) and batch.
    pub fn grid(&self, context: usize, heads: usize, batch: usize) -> [u32; 3] {
        [context.div_ceil(self.rows as usize) as u32, heads as u32, batch as u32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Form, translate::Shader};

    fn names(capabilities: &Capabilities, dim: usize) -> Vec<&'static str> {
        VARIANTS.iter().filter(|spec| spec.fits(capabilities, dim)).map(|spec| spec.name).collect()
    }

    /// GPUs are not offered what their registers cannot hold, nor workgroups smaller than a subgroup.
    #[test]
    fn variants_suit_the_adapter() {
        let gpu = |least, most| Capabilities {
            subgroups: Some((least, most)),
            workgroup_memory: 32 << 10,
            ..Capabilities::baseline()
        };
        let (few, many) = (["narrow blocks 64", "narrow blocks 128"], ["small blocks 128", "blocks 128"]);
        let most = ["wide blocks 128"];
        let expected = |rows: &[&'static str], blocks: &[&[&'static str]]| [rows, &blocks.concat()].concat();
        assert_eq!(names(&gpu(32, 32), 32), expected(&["rows 64", "tiles 64", "shuffled rows 32"], &[&few, &many]));
        assert_eq!(names(&gpu(32, 64), 32), expected(&["rows 64", "tiles 64"], &[&few, &many]));
        assert_eq!(names(&gpu(8, 32), 16), expected(&["rows 64", "rows 8", "rows 8x2", "tiles 64"], &[&few]));
        for dim in [36, 64, 80, 128, 256] {
            assert_eq!(names(&gpu(8, 32), dim), expected(&["rows 64"], &[&few]));
        }
        let roomy = Capabilities { workgroup_memory: 48 << 10, ..gpu(32, 32) };
        for dim in [36, 64, 128] {
            assert_eq!(names(&roomy, dim), expected(&["rows 64"], &[&few, &many, &most]));
        }
        assert_eq!(names(&gpu(64, 128), 64), expected(&["rows 64"], &[&["narrow blocks 64", "small blocks 128"]]));
        let least = Capabilities { workgroup_memory: 16 << 10, ..gpu(64, 128) };
        assert_eq!(names(&least, 64), expected(&["rows 64"], &[&["narrow blocks 64", "small blocks 128"]]));
        assert_eq!(names(&Capabilities::baseline(), 64), ["rows 64", "narrow blocks 64"]);
        let processor = |dim| names(&Capabilities { processor: true, ..gpu(8, 8) }, dim);
        let by_rows =
            ["rows 64", "rows 8", "rows 8x2", "tiles 64", "shuffled rows 8x2", "shared rows 8", "shared rows 8x2"];
        assert_eq!(processor(64), expected(&by_rows, &[&few, &many, &most]));
        assert_eq!(processor(256), expected(&["rows 64", "shared rows 8"], &[&few, &many, &most]));
    }

    /// Blocks take as much workgroup memory as the table of blocks says.
    #[test]
    fn blocks_take_the_memory_that_they_say() {
        for spec in VARIANTS {
            for dim in [4, 12, 32, 64, 80, 128, 256] {
                for pass in [Pass::Forward, Pass::BackwardQ, Pass::BackwardKv] {
                    let Some(block) = spec.block(pass, dim) else { continue };
                    let kernel = spec.planned(pass, Heads { query: 1, key_value: 1, dim }).variant;
                    let shader = Shader::new(&kernel.text(Form::native(true)).expect("composes")).expect("compiles");
                    assert_eq!(shader.workgroup_bytes(), block.memory, "{kernel}");
                }
            }
        }
    }
}
