//! Attention over a cache of keys and values.

use crate::{
    Result, binds,
    gpu::{Capabilities, Constant, Gpu, Kernel, Variant},
    kernels,
    ops::{
        attention::{self, Heads},
        expect, require,
    },
    params,
    tensor::{DType, Tensor},
};

kernels! {
    /// Appends new keys and values to the cache, and rotates them on the way.
    KV_APPEND = "kv_append";
    /// Attention of new queries over the cache.
    ATTENTION_DECODE = "attention_decode";
    /// Joins the results for ranges of positions.
    ATTENTION_MERGE = "attention_merge";
}

/// How a cache stores its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32.
    #[default]
    Single,
    /// f16: half the memory, and half the bytes to read for each token.
    Half,
}

impl Precision {
    /// Uninitialised memory for numbers of `shape`, whose last dimension is even.
    pub(super) fn tensor(self, gpu: &Gpu, shape: [usize; 4]) -> Result<Tensor> {
        let [a, b, c, width] = shape;
        match self {
            Self::Single => Tensor::empty_f32(gpu, &shape),
            Self::Half => Tensor::empty(gpu, &[a, b, c, width / 2], DType::U32),
        }
    }

    pub(super) fn file(self) -> Constant {
        Constant::File(match self {
            Self::Single => "lib/cache_f32.wgsl",
            Self::Half => "lib/cache_f16.wgsl",
        })
    }
}

/// Keys and values of the tokens seen so far.
#[derive(Clone, Debug)]
pub struct Cached {
    /// `[batch, key_value, capacity, dim]`: keys, rotated if the model rotates.
    pub keys: Tensor,
    /// `[batch, key_value, capacity, dim]`: values.
    pub values: Tensor,
    /// How both are stored; with [`Precision::Half`], the tensors hold words of two numbers, `dim / 2` per row.
    pub precision: Precision,
    /// Batch, key and value heads, positions, width of a head.
    pub shape: [usize; 4],
}

impl Cached {
    /// Uninitialised memory for `[batch, key_value, capacity, dim]`.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, shape: [usize; 4], precision: Precision) -> Result<Self> {
        Ok(Self { keys: precision.tensor(gpu, shape)?, values: precision.tensor(gpu, shape)?, precision, shape })
    }
}

/// One variant of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct DecodeVariant {
    /// Its name.
    pub name: &'static str,
    /// Invocations per workgroup.
    lanes: u32,
    /// Positions per round.
    chunk: u32,
    /// Maximum number of ranges that positions are cut into.
    splits: usize,
    /// Maximum number of rows (tokens times heads) that share loads of keys and values.
    rows: usize,
    /// Whether the queries are in workgroup memory; otherwise each lane has its own copy, which GPUs have no registers for.
    shared_queries: bool,
}

/// Every variant.
pub const VARIANTS: &[DecodeVariant] = &[
    DecodeVariant { name: "8 lanes", lanes: 8, chunk: 64, splits: 16, rows: 4, shared_queries: false },
    DecodeVariant { name: "32 lanes", lanes: 32, chunk: 64, splits: 1, rows: 1, shared_queries: true },
    DecodeVariant { name: "32 lanes, split", lanes: 32, chunk: 64, splits: 16, rows: 4, shared_queries: true },
];

/// Number of positions that makes a separate range worth a workgroup.
const SPLIT: usize = 128;

impl DecodeVariant {
    /// The variant for this adapter: on wide GPUs the split one, because without splits they have too few workgroups.
    pub fn choose(gpu: &Gpu) -> Self {
        let best = &VARIANTS[if gpu.capabilities().subgroups_of(8) { 0 } else { 2 }];
        let allowed = |spec: &&Self| spec.fits(gpu.capabilities());
        *Some(best).filter(allowed).or_else(|| VARIANTS.iter().find(allowed)).unwrap_or(best)
    }

    /// Whether the variant may run on an adapter with these capabilities: all may, except those to be left unused.
    pub fn fits(&self, capabilities: &Capabilities) -> bool {
        capabilities.allows(self.name)
    }

    /// The number of query heads of one token that share loads.
    pub(super) fn group(&self, heads: Heads) -> usize {
        let shared = heads.query / heads.key_value;
        (1..=4).rev().find(|group| shared % group == 0 && *group <= self.rows).unwrap_or(1)
    }

    /// The maximum number of rows that share loads.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A kernel with this variant's constants.
    pub(super) fn variant(&self, kernel: &'static Kernel, heads: Heads) -> Variant {
        // Two positions share the loads of queries; with the sums of wider heads, they do not fit Intel's registers.
        let together = if self.shared_queries && heads.dim <= 128 { 2 } else { 1 };
        kernel
            .set("D", heads.dim as u32)
            .set("GROUP", self.group(heads) as u32)
            .set("LANES", self.lanes)
            .set("SHARED_QUERIES", self.shared_queries)
            .set("TOGETHER", together)
            .set("CHUNK", self.chunk)
    }
}

/// Refuses a rotary table that does not hold the first `positions` positions.
pub(super) fn check_table(op: &'static str, table: Option<&Tensor>, heads: Heads, positions: usize) -> Result<()> {
    let Some(table) = table else { return Ok(()) };
    expect(op, "the rotary table", table, &[table.shape()[0], heads.dim / 2, 2])?;
    require(positions <= table.shape()[0], op, || {
        format!("position {} is past the rotary table's {}", positions - 1, table.shape()[0])
    })
}

/// Runs attention that cuts positions into `splits` ranges. `run` writes the result for the queries `q` if there is one
/// range, or else the parts of every range for each of their rows (tokens times heads), which are then joined. The
/// result has the shape of `q`.
pub(super) fn joined(
    q: &Tensor,
    heads: Heads,
    splits: usize,
    run: impl FnOnce(&Tensor) -> Result<()>,
) -> Result<Tensor> {
    let (gpu, out) = (q.gpu(), Tensor::empty_f32(q.gpu(), q.shape())?);
    if splits == 1 {
        run(&out)?;
        return Ok(out);
    }
    let parts = Tensor::empty_f32(gpu, &[q.height() * heads.query, splits, heads.dim + 4])?;
    run(&parts)?;
    let count = q.elements() / 4;
    let binds = binds![parts: parts.bind(), out: out.bind()];
    gpu.run(
        &ATTENTION_MERGE.set("D", heads.dim as u32),
        binds,
        params![count: count, splits: splits],
        gpu.flat_grid(count),
    )?;
    Ok(out)
}

/// Puts the keys and values of the new tokens' `qkv [batch, context, (query + 2 key_value) * dim]` into the cache at
/// `past` and returns their queries `[batch, context, query * dim]`. With a `table` (see [`crate::ops::rope::table`]),
/// queries and keys are rotated, by positions counted from `segments [batch, context]` if given.
///
/// # Errors
/// [`crate::Error::Shape`] when the cache or the table is too short.
pub fn append(
    qkv: &Tensor,
    table: Option<&Tensor>,
    heads: Heads,
    cache: &Cached,
    past: usize,
    segments: Option<&Tensor>,
) -> Result<Tensor> {
    attention::check(qkv, heads)?;
    attention::check_segments(qkv, segments)?;
    let (gpu, batch, context) = (qkv.gpu(), qkv.shape()[0], qkv.shape()[1]);
    let [sequences, key_value, capacity, dim] = cache.shape;
    require(past + context <= capacity && sequences == batch, "decode", || {
        format!("{past} + {context} tokens of {batch} sequences, the cache is {:?}", cache.shape)
    })?;
    require(key_value == heads.key_value && dim == heads.dim && dim % 4 == 0, "decode", || {
        format!("the cache is {:?} for {heads:?}", cache.shape)
    })?;
    check_table("decode", table, heads, past + context)?;
    let q = Tensor::empty_f32(gpu, &[batch, context, heads.query * heads.dim])?;
    let count = batch * context * heads.qkv_width() / 4;
    let variant = KV_APPEND
        .set("cache", cache.precision.file())
        .set("D", heads.dim as u32)
        .set("ROTARY", table.is_some())
        .set("SEGMENTS", segments.is_some());
    let binds = binds![
        qkv: qkv.bind(), table: table.unwrap_or(qkv).bind(), starts: segments.unwrap_or(qkv).bind(), q: q.bind(),
        keys: cache.keys.bind(), values: cache.values.bind(),
    ];
    let params = params![
        count: count, heads: heads.query, kv_heads: heads.key_value, context: context, past: past, capacity: capacity,
    ];
    gpu.run(&variant, binds, params, gpu.flat_grid(count))?;
    Ok(q)
}

/// Attention of the queries `q [batch, context, query * dim]` of the tokens at `past..` over the cache, which already
/// holds their keys and values, in q's shape. `starts [batch]` are the first positions that each sequence sees; 0 if
/// `None`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn attend(q: &Tensor, heads: Heads, cache: &Cached, past: usize, starts: Option<&Tensor>) -> Result<Tensor> {
    attend_with(DecodeVariant::choose(q.gpu()), q, heads, cache, past, starts)
}

/// [`attend`] with a given variant.
///
/// # Errors
/// As [`attend`].
pub fn attend_with(
    spec: DecodeVariant,
    q: &Tensor,
    heads: Heads,
    cache: &Cached,
    past: usize,
    starts: Option<&Tensor>,
) -> Result<Tensor> {
    let (gpu, batch, context) = (q.gpu(), q.shape()[0], q.shape()[1]);
    expect("decode", "the queries", q, &[batch, context, heads.query * heads.dim])?;
    if let Some(starts) = starts {
        expect("decode", "the starts", starts, &[batch])?;
    }
    let group = spec.group(heads);
    let queries = if context == 1 { 1 } else { (spec.rows / group).min(4) };
    let splits = ((past + context) / SPLIT).clamp(1, spec.splits);
    let splits = if context == 1 { splits } else { 1 };
    let params = params![
        context: context, heads: heads.query, kv_heads: heads.key_value, past: past, capacity: cache.shape[2],
        splits: splits, scale: heads.scale(),
    ];
    let grid = [context.div_ceil(queries) as u32, (heads.query / group) as u32, (batch * splits) as u32];
    let variant = spec
        .variant(&ATTENTION_DECODE, heads)
        .set("cache", cache.precision.file())
        .set("QUERIES", queries as u32)
        .set("STARTS", starts.is_some());
    joined(q, heads, splits, |out| {
        let binds = binds![
            q: q.bind(), keys: cache.keys.bind(), values: cache.values.bind(), starts: starts.unwrap_or(q).bind(),
            out: out.bind(),
        ];
        gpu.run(&variant, binds, params, grid)
    })
}
