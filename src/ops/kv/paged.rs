//! Attention over pages of keys and values: texts of any length share one pool, and each has a table of its pages.

use super::decode::{self, DecodeVariant, Precision};
use crate::{
    Result, binds,
    gpu::Gpu,
    kernels,
    ops::{
        attention::{self, Heads},
        require,
    },
    params,
    tensor::Tensor,
};

kernels! {
    /// Writes new keys and values to pages, and rotates them on the way.
    PAGED_APPEND = "paged_append";
    /// Attention of new queries over pages.
    ATTENTION_PAGED = "attention_paged";
}

/// Tokens per page.
pub const PAGE: usize = 32;

/// Minimum number of positions in a range; ranges are joined by a second kernel.
const SPAN: usize = 256;
/// Maximum number of ranges of a text.
const SPLITS: usize = 32;

/// The pool of one layer.
#[derive(Clone, Debug)]
pub struct Paged {
    /// `[pages, key_value, PAGE, dim]`: keys, rotated if the model rotates.
    pub keys: Tensor,
    /// `[pages, key_value, PAGE, dim]`: values.
    pub values: Tensor,
    /// How both are stored; with [`Precision::Half`], the tensors hold words of two numbers, `dim / 2` per row.
    pub precision: Precision,
    /// Pages, key and value heads, width of a head.
    pub shape: [usize; 3],
}

impl Paged {
    /// Uninitialised memory for `[pages, key_value, PAGE, dim]`.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`]; [`crate::Error::Shape`] when a pool exceeds one binding of the adapter.
    pub fn new(gpu: &Gpu, shape: [usize; 3], precision: Precision) -> Result<Self> {
        let [pages, heads, dim] = shape;
        let most = most_pages(gpu, heads, dim, precision);
        require(pages <= most, "pages", || format!("{pages} pages of {PAGE} tokens, the adapter can bind {most}"))?;
        let make = || precision.tensor(gpu, [pages, heads, PAGE, dim]);
        Ok(Self { keys: make()?, values: make()?, precision, shape })
    }
}

/// The maximum number of pages of a layer that the adapter can bind at once.
pub fn most_pages(gpu: &Gpu, heads: usize, dim: usize, precision: Precision) -> usize {
    let number = match precision {
        Precision::Single => 4,
        Precision::Half => 2,
    };
    let capabilities = gpu.capabilities();
    (capabilities.binding.min(capabilities.buffer) / (heads * PAGE * dim * number) as u64) as usize
}

/// Consecutive tokens of one text that are computed together.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The pages of the text, at least up to these tokens.
    pub pages: &'a [u32],
    /// The position of the first token.
    pub first: usize,
    /// The number of tokens.
    pub count: usize,
}

/// Where the tokens of one pass lie, on the GPU. Rows are the runs' tokens, one run after the other.
#[derive(Clone, Debug)]
pub struct Rows {
    /// `[rows, 2]`: position, and place in the pool.
    places: Tensor,
    /// `[tiles, 4]`; see `attention_paged.wgsl`.
    tiles: Tensor,
    /// `[pages]`: those of the runs, one run after the other.
    tables: Tensor,
    /// Maximum number of rows of a tile.
    queries: usize,
    /// One past the greatest position.
    longest: usize,
    /// One past the greatest page.
    pages: usize,
    spec: DecodeVariant,
}

impl Rows {
    /// Uploads where the tokens of `runs` lie, for attention with `heads`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when there are no tokens, or a run has fewer pages than its positions need.
    pub fn new(gpu: &Gpu, heads: Heads, runs: &[Run<'_>]) -> Result<Self> {
        Self::with(DecodeVariant::choose(gpu), gpu, heads, runs)
    }

    /// [`Rows::new`] for a given variant of the kernel.
    ///
    /// # Errors
    /// As [`Rows::new`].
    pub fn with(spec: DecodeVariant, gpu: &Gpu, heads: Heads, runs: &[Run<'_>]) -> Result<Self> {
        let decoding = runs.iter().all(|run| run.count == 1);
        let queries = if decoding { 1 } else { (spec.rows() / spec.group(heads)).clamp(1, 4) };
        let (mut places, mut tiles, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        for run in runs {
            let needed = (run.first + run.count).div_ceil(PAGE);
            require(run.count > 0 && needed <= run.pages.len(), "pages", || {
                format!("{} tokens from {} on need {needed} pages, there are {}", run.count, run.first, run.pages.len())
            })?;
            for start in (0..run.count).step_by(queries) {
                let first = run.first + start;
                let numbers = [places.len() / 2, queries.min(run.count - start), tables.len(), first];
                tiles.extend(numbers.map(|number| number as u32));
                for position in first..first + numbers[1] {
                    let page = run.pages[position / PAGE] as usize;
                    places.extend([position as u32, (page * PAGE + position % PAGE) as u32]);
                }
            }
            tables.extend_from_slice(&run.pages[..needed]);
        }
        require(!places.is_empty(), "pages", || "no tokens to place".to_string())?;
        Ok(Self {
            places: Tensor::from_u32(gpu, &[places.len() / 2, 2], &places)?,
            tiles: Tensor::from_u32(gpu, &[tiles.len() / 4, 4], &tiles)?,
            tables: Tensor::from_u32(gpu, &[tables.len()], &tables)?,
            queries,
            longest: runs.iter().map(|run| run.first + run.count).max().unwrap_or(0),
            pages: tables.iter().max().map_or(0, |page| *page as usize + 1),
            spec,
        })
    }

    /// Number of tokens.
    pub fn count(&self) -> usize {
        self.places.shape()[0]
    }
}

/// Puts the keys and values of the tokens of `qkv [rows, .., (query + 2 key_value) * dim]` into their pages
/// and returns their queries `[rows, .., query * dim]`. With a `table` (see [`crate::ops::rope::table`]),
/// queries and keys are rotated.
///
/// # Errors
/// [`crate::Error::Shape`] when pool, table and rows do not match.
pub fn append(qkv: &Tensor, table: Option<&Tensor>, heads: Heads, pool: &Paged, rows: &Rows) -> Result<Tensor> {
    attention::check(qkv, heads)?;
    fits(heads, pool, rows)?;
    let (gpu, count) = (qkv.gpu(), rows.count());
    require(qkv.height() == count, "pages", || format!("qkv {:?} for {count} tokens", qkv.shape()))?;
    decode::check_table("pages", table, heads, rows.longest)?;
    let q = Tensor::empty_f32(gpu, &[qkv.shape()[0], qkv.shape()[1], heads.query * heads.dim])?;
    let invocations = count * heads.qkv_width() / 4;
    let variant = PAGED_APPEND
        .set("cache", pool.precision.file())
        .set("D", heads.dim as u32)
        .set("PAGE", PAGE as u32)
        .set("ROTARY", table.is_some());
    let binds = binds![
        qkv: qkv.bind(), table: table.unwrap_or(qkv).bind(), places: rows.places.bind(), q: q.bind(),
        keys: pool.keys.bind(), values: pool.values.bind(),
    ];
    let params = params![count: invocations, heads: heads.query, kv_heads: heads.key_value];
    gpu.run(&variant, binds, params, gpu.flat_grid(invocations))?;
    Ok(q)
}

/// Attention of the queries `q [rows, .., query * dim]` over the pages of their texts, which already hold
/// their keys and values; the result has the shape of `q`. `context` is the longest text that there will ever
/// be. How a text's positions are cut into ranges depends on it alone, so the result for a text does not
/// depend on what else is in the pass.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn attend(q: &Tensor, heads: Heads, pool: &Paged, rows: &Rows, context: usize) -> Result<Tensor> {
    fits(heads, pool, rows)?;
    let (gpu, count) = (q.gpu(), rows.count());
    require(q.height() == count && q.width() == heads.query * heads.dim, "pages", || {
        format!("queries {:?} for {count} tokens of {heads:?}", q.shape())
    })?;
    let group = rows.spec.group(heads);
    let span = context.div_ceil(SPLITS).max(SPAN).next_multiple_of(64);
    let splits = rows.longest.div_ceil(span);
    let variant = rows
        .spec
        .variant(&ATTENTION_PAGED, heads)
        .set("cache", pool.precision.file())
        .set("PAGE", PAGE as u32)
        .set("QUERIES", rows.queries as u32);
    let params = params![
        heads: heads.query, kv_heads: heads.key_value, splits: splits, span: span, scale: heads.scale(),
    ];
    let grid = [rows.tiles.shape()[0] as u32, (heads.query / group) as u32, splits as u32];
    decode::joined(q, heads, splits, |out| {
        let binds = binds![
            q: q.bind(), keys: pool.keys.bind(), values: pool.values.bind(), tiles: rows.tiles.bind(),
            tables: rows.tables.bind(), out: out.bind(),
        ];
        gpu.run(&variant, binds, params, grid)
    })
}

fn fits(heads: Heads, pool: &Paged, rows: &Rows) -> Result<()> {
    let [pages, key_value, dim] = pool.shape;
    require(key_value == heads.key_value && dim == heads.dim && dim % 4 == 0 && rows.pages <= pages, "pages", || {
        format!("pages {:?} for {heads:?} and page {}", pool.shape, rows.pages - 1)
    })
}
