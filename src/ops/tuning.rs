//! Answers the tuner's questions: the variants that fit are checked and timed, and the fastest is remembered.
//!
//! Timing must not keep anybody waiting, so the largest problems come first, a variant is checked on a small problem, one
//! that is hopeless there or in its first call is not called again, and those that are unlikely to win on an adapter's kind
//! are not even compiled while the others are few enough to choose from and time is limited.

use web_time::{Duration, Instant};

use super::{
    attention::{
        self, Heads,
        variants::{AttentionVariant, Kind},
    },
    head::{self, Reading},
    matmul::{self, Epilogue, Shape, variants::MatmulVariant},
    norm, rows, softmax,
};
use crate::{
    Error, Result,
    gpu::{
        Gpu,
        race::{Call, Rules},
        tune::Question,
    },
    tensor::{DType, Tensor},
};

/// One timed variant.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Timing {
    /// The class of shapes.
    pub class: String,
    /// The variant.
    pub variant: &'static str,
    /// Seconds per call; `None` if it failed its check.
    pub seconds: Option<f64>,
}

/// Seconds per call that are enough to tell variants apart.
const ENOUGH: f64 = 0.1;
/// Maximum normalised mean square error of a variant compared with the plainest one.
const LARGEST_ERROR: f64 = 1e-7;
/// The same for results stored in f16.
const LARGEST_HALF_ERROR: f64 = 1e-6;

/// What the variants of a class are used for. A choice is made for the plain use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Products with nothing fused, softmax, attention both ways.
    #[default]
    Plain,
    /// Products to which a residual is added.
    Residual,
    /// Products with GELU, which keep the value before it.
    Gelu,
    /// Products that are added to existing values, as gradients are.
    Accumulate,
    /// Rows: LayerNorm.
    Norm,
    /// Rows: its gradient.
    NormBackward,
    /// Rows: cross entropy.
    Loss,
}

impl Use {
    /// The other uses of a class, in training or in decoding.
    pub fn others(class: &str, training: bool) -> &'static [Self] {
        let mut words = class.split(' ');
        match (words.next(), words.next()) {
            (Some("matmul"), Some("nt")) => &[Self::Residual, Self::Gelu],
            (Some("matmul"), _) => &[Self::Accumulate],
            (Some("rows"), _) if training => &[Self::Norm, Self::NormBackward, Self::Loss],
            (Some("rows"), _) => &[Self::Norm],
            _ => &[],
        }
    }
}

/// Checks and times the variants for the classes that were asked for, the largest problems first, and remembers the
/// fastest of each class. Ends after about `limit` seconds, if there is a limit: what is not answered by then stays open.
///
/// # Errors
/// [`Error::Kernel`] when no variant of a class passes its check; the driver's errors.
pub async fn answer(gpu: &Gpu, limit: Option<f64>, mut report: impl FnMut(&str, usize, usize)) -> Result<Vec<Timing>> {
    let mut open = gpu.tuner().open();
    open.retain(|(class, shapes)| shapes.first().is_some_and(|shape| work(class, shape) > 0.0));
    open.sort_by(|left, right| work(&right.0, &right.1[0]).total_cmp(&work(&left.0, &left.1[0])));
    let start = Instant::now();
    let mut timings = Vec::new();
    for (index, (class, shapes)) in open.iter().enumerate() {
        let pace = match limit {
            None => Pace::thorough(Rules::CHOOSE),
            Some(limit) => {
                let left = limit - start.elapsed().as_secs_f64();
                if left <= 0.0 {
                    break;
                }
                Pace::quick(left, left / (open.len() - index) as f64)
            }
        };
        report(class, index, open.len());
        timings.extend(answer_one(gpu, class, &shapes[0], pace).await?);
    }
    gpu.trim();
    Ok(timings)
}

/// Answers the open question about the largest problem; returns whether there was one.
///
/// # Errors
/// As [`answer`].
pub async fn answer_next(gpu: &Gpu) -> Result<bool> {
    let open = gpu.tuner().open();
    let size = |(class, shapes): &Question| shapes.first().map_or(0.0, |shape| work(class, shape));
    let largest = open.iter().max_by(|left, right| size(left).total_cmp(&size(right)));
    let Some((class, shapes)) = largest.filter(|question| size(question) > 0.0) else { return Ok(false) };
    let timings = answer_one(gpu, class, &shapes[0], Pace::quick(5.0, Rules::CHOOSE.seconds)).await?;
    gpu.trim();
    Ok(!timings.is_empty())
}

/// Answers one question, unless time runs out before there are several variants to choose from.
async fn answer_one(gpu: &Gpu, class: &str, shape: &[u32], pace: Pace) -> Result<Vec<Timing>> {
    let Some(Contest { timed, complete }) = contest(gpu, class, shape, Use::Plain, pace).await? else {
        return Ok(Vec::new());
    };
    if complete {
        let (best, _) = fastest(&timed).ok_or_else(|| Error::Kernel {
            kernel: class.to_string(),
            reason: "no variant passes its check on this adapter; see wgpt doctor".to_string(),
        })?;
        gpu.tuner().remember(class, best);
    }
    let timing = |(variant, seconds)| Timing { class: class.to_string(), variant, seconds };
    Ok(timed.into_iter().map(timing).collect())
}

/// About how many operations the problem of a class takes; 0 for classes that are not tuned.
fn work(class: &str, numbers: &[u32]) -> f64 {
    match (class.split(' ').next(), numbers) {
        (Some("matmul"), numbers) => Shape::from_numbers(numbers).map_or(0.0, |shape| shape.flops()),
        (Some("rows"), &[rows, width]) => 20.0 * f64::from(rows) * f64::from(width),
        // Two products forward and five backward, over half of all pairs, of perhaps eight windows.
        (Some("attention"), &[context, query, _, dim, _]) => {
            8.0 * 7.0 * f64::from(context).powi(2) * f64::from(query) * f64::from(dim)
        }
        _ => 0.0,
    }
}

/// How much time timing may take.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rules: Rules,
    /// When no other variant is begun.
    until: Option<Instant>,
    /// Whether unlikely variants are only tried if nothing else fits.
    likely: bool,
}

impl Pace {
    /// Tries every variant.
    fn thorough(rules: Rules) -> Self {
        Self { rules, until: None, likely: false }
    }

    /// Tries what is likely to win: no variant is begun after `limit` seconds, and those that were begun are timed for
    /// about `seconds`.
    fn quick(limit: f64, seconds: f64) -> Self {
        let rules = Rules { seconds: seconds.min(Rules::CHOOSE.seconds), ..Rules::CHOOSE };
        Self { rules, until: Some(Instant::now() + Duration::from_secs_f64(limit)), likely: true }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Times the variants for a class as a run does between its steps, where there is time: those that are unlikely to win on the
/// adapter's kind are left out. `None` for classes that are not tuned.
///
/// # Errors
/// Returns the driver's errors.
pub async fn time_as_a_run(gpu: &Gpu, class: &str, numbers: &[u32]) -> Result<Option<Timed>> {
    let pace = Pace { likely: true, ..Pace::thorough(Rules::CHOOSE) };
    Ok(contest(gpu, class, numbers, Use::Plain, pace).await?.map(|contest| contest.timed))
}

/// Variants with their seconds; `None` for one that failed its check.
pub type Timed = Vec<(&'static str, Option<f64>)>;

/// The fastest variant that passed its check, with its seconds.
pub fn fastest(timed: &Timed) -> Option<(&'static str, f64)> {
    let passed = timed.iter().filter_map(|(name, seconds)| seconds.map(|seconds| (*name, seconds)));
    passed.min_by(|left, right| left.1.total_cmp(&right.1))
}

/// Checks the variants that fit a shape of a class, and times those that pass. `None` for classes that are not tuned.
///
/// # Errors
/// Returns the driver's errors.
pub async fn time(gpu: &Gpu, class: &str, numbers: &[u32], used: Use, rules: Rules) -> Result<Option<Timed>> {
    Ok(contest(gpu, class, numbers, used, Pace::thorough(rules)).await?.map(|contest| contest.timed))
}

async fn contest(gpu: &Gpu, class: &str, numbers: &[u32], used: Use, pace: Pace) -> Result<Option<Contest>> {
    Ok(match (class.split(' ').next(), numbers) {
        (Some("matmul"), numbers) => match Shape::from_numbers(numbers) {
            Some(shape) => Some(time_matmul(gpu, shape, used, pace).await?),
            None => None,
        },
        (Some("rows"), &[rows, width]) => Some(time_rows(gpu, rows as usize, width as usize, used, pace).await?),
        (Some("attention"), &[context, query, key_value, dim, half]) => {
            let heads = Heads { query: query as usize, key_value: key_value as usize, dim: dim as usize };
            let dtype = if half != 0 { DType::F16 } else { DType::F32 };
            Some(time_attention(gpu, heads, context as usize, dtype, pace).await?)
        }
        _ => None,
    })
}

/// A variant that may be chosen.
struct Candidate<'a> {
    name: &'static str,
    /// Computes a small problem; all variants must agree on its result.
    check: Box<dyn Fn() -> Result<Tensor> + 'a>,
    /// Computes the problem that is timed.
    call: Call<'a>,
    unlikely: bool,
}

impl Candidate<'_> {
    fn check_call(&self) -> Call<'_> {
        Box::new(|| (self.check)().map(drop))
    }
}

/// What came of comparing variants.
struct Contest {
    timed: Timed,
    /// Whether there was time for all variants that are not unlikely.
    complete: bool,
}

/// A variant that takes this many times as long as the best one on the small problem, and more than [`MOMENT`] seconds, is
/// not tried on the large one.
const HOPELESS: f64 = 5.0;
/// Shorter times say nothing, because they are mostly spent on the way to the device and back.
const MOMENT: f64 = 0.002;

impl Contest {
    /// Compares `candidates`, the plainest first: the others' results must not differ from its result by more than
    /// `error`.
    async fn hold(gpu: &Gpu, mut candidates: Vec<Candidate<'_>>, error: f64, pace: Pace) -> Result<Self> {
        if candidates.is_empty() {
            return Ok(Self { timed: Vec::new(), complete: false });
        }
        let mut reference: Option<Vec<f32>> = None;
        let mut timed: Timed = Vec::new();
        let mut passed: Vec<(Candidate<'_>, f64)> = Vec::new();
        let mut complete = true;
        // After the plainest, the most refined: it is the most likely to win.
        candidates[1..].reverse();
        candidates[1..].sort_by_key(|candidate| candidate.unlikely);
        let enough = candidates.iter().filter(|candidate| !candidate.unlikely).count() > 1;
        for candidate in candidates {
            if reference.is_some() {
                if pace.likely && candidate.unlikely && enough {
                    break;
                }
                if pace.is_over() {
                    complete = false;
                    break;
                }
            }
            let values = (candidate.check)()?.to_f32().await?;
            let passes = reference.as_ref().is_none_or(|reference| normalised_error(&values, reference) < error);
            reference.get_or_insert(values);
            if !passes {
                timed.push((candidate.name, None));
                continue;
            }
            let seconds = gpu.clock(&candidate.check_call(), 1).await?;
            passed.push((candidate, seconds));
        }
        let least = passed.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
        let hopes = |seconds: f64| seconds <= HOPELESS * least || seconds <= MOMENT;
        for (candidate, seconds) in &mut passed {
            // It may have been interrupted.
            for _ in 0..2 {
                if !hopes(*seconds) {
                    *seconds = seconds.min(gpu.clock(&candidate.check_call(), 1).await?);
                }
            }
        }
        let (racing, hopeless): (Vec<_>, Vec<_>) = passed.into_iter().partition(|(_, seconds)| hopes(*seconds));
        let (names, calls): (Vec<_>, Vec<_>) = racing.into_iter().map(|(one, _)| (one.name, one.call)).unzip();
        let seconds = gpu.race(pace.rules, &calls).await?;
        let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        timed.extend(names.into_iter().zip(seconds.into_iter().map(Some)));
        timed.extend(hopeless.into_iter().map(|(one, seconds)| (one.name, Some(seconds / least * best))));
        Ok(Self { timed, complete })
    }
}

/// Whether a variant with this many invocations per workgroup is unlikely to be the fastest on the adapter: with a
/// software driver, sharing loads in workgroup memory is slower than sharing them in subgroups, where those fit; on a
/// GPU, a workgroup smaller than a subgroup leaves lanes idle.
fn unlikely(gpu: &Gpu, invocations: u32, workgroup_memory: bool) -> bool {
    if gpu.capabilities().processor {
        workgroup_memory && gpu.capabilities().subgroups_of(8)
    } else {
        invocations < gpu.capabilities().subgroups.map_or(32, |(least, _)| least)
    }
}

/// Test values that no transposition or shift maps onto themselves.
fn data(gpu: &Gpu, elements: usize, salt: u32, dtype: DType) -> Result<Tensor> {
    let value = |i: u32| {
        let mixed = i.wrapping_mul(2_654_435_761).wrapping_add(salt.wrapping_mul(40_503));
        (mixed >> 8) as f32 / (1 << 24) as f32 - 0.4
    };
    Tensor::from_f32_as(gpu, &[elements], &(0..elements as u32).map(value).collect::<Vec<_>>(), dtype)
}

/// Mean square difference divided by the mean square of the reference.
fn normalised_error(values: &[f32], reference: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = values.iter().zip(reference).map(|(x, y)| square(f64::from(*x) - f64::from(*y))).sum();
    let size: f64 = reference.iter().map(|y| square(f64::from(*y))).sum();
    if error.is_finite() { error / size.max(1e-30) } else { f64::INFINITY }
}

/// At most `most`, give or take what makes it a multiple of four exactly where `size` is one.
fn small(size: usize, most: usize) -> usize {
    if size > most { most / 4 * 4 + size % 4 } else { size }
}

/// The operands of a product.
struct Product {
    shape: Shape,
    a: Tensor,
    b: Tensor,
    beside: Option<Tensor>,
    used: Use,
}

impl Product {
    fn new(gpu: &Gpu, shape: Shape, used: Use) -> Result<Self> {
        let b = data(gpu, shape.batch * shape.k * shape.n, 2, shape.dtype())?;
        Self::by(b, shape, used)
    }

    /// The same with another number of rows, and the same B.
    fn with_rows(&self, m: usize) -> Result<Self> {
        Self::by(self.b.clone(), Shape { m, ..self.shape }, self.used)
    }

    fn by(b: Tensor, shape: Shape, used: Use) -> Result<Self> {
        let (gpu, Shape { m, n, k, batch, .. }) = (b.gpu(), shape);
        let a = data(gpu, batch * m * k, 1, shape.dtype())?;
        let beside = if used == Use::Plain { None } else { Some(data(gpu, batch * m * n, 6, DType::F32)?) };
        Ok(Self { shape, a, b, beside, used })
    }

    /// A tensor for the result.
    fn out(&self) -> Result<Tensor> {
        let Shape { m, n, batch, .. } = self.shape;
        Tensor::empty_f32(self.a.gpu(), &[batch * m * n])
    }

    fn compute(&self, spec: &MatmulVariant, out: &Tensor) -> Result<()> {
        let beside = self.beside.as_ref();
        let epilogue = match self.used {
            Use::Residual => Epilogue { residual: beside, ..Epilogue::default() },
            Use::Gelu => Epilogue { gelu: beside, ..Epilogue::default() },
            Use::Accumulate => Epilogue { accumulate: true, ..Epilogue::default() },
            _ => Epilogue::default(),
        };
        matmul::matmul_with(spec, self.shape, &self.a, &self.b, out, epilogue)
    }

    /// The result by a variant, which must write every element.
    fn checked(&self, spec: &MatmulVariant) -> Result<Tensor> {
        let out = self.out()?;
        out.fill(if self.used == Use::Accumulate { 0.5 } else { f32::NAN })?;
        self.compute(spec, &out)?;
        Ok(out)
    }
}

/// A product is timed over this many rows at least, and over more as long as they do not take longer than [`ENOUGH`].
const FEWEST: usize = 256;

/// As much of a product as it takes to tell variants apart. If a few of its rows take long, as without a GPU, more of them tell
/// nothing new.
async fn enough_of(gpu: &Gpu, shape: Shape, used: Use) -> Result<Product> {
    let few = Product::new(gpu, Shape { m: small(shape.m, FEWEST), ..shape }, used)?;
    if few.shape.m == shape.m {
        return Ok(few);
    }
    let (out, default) = (few.out()?, matmul::choose(gpu, shape));
    let seconds = gpu.time(1, 1, || few.compute(default, &out)).await?;
    let rows = FEWEST as f64 * (ENOUGH / seconds.max(1e-9)).max(1.0);
    few.with_rows(small(shape.m, rows as usize))
}

async fn time_matmul(gpu: &Gpu, shape: Shape, used: Use, pace: Pace) -> Result<Contest> {
    let large = enough_of(gpu, shape, used).await?;
    let out = large.out()?;
    let few = Shape { m: small(shape.m, 72), n: small(shape.n, 136), batch: shape.batch.min(2), ..shape };
    let few = Product::new(gpu, few, used)?;
    let candidate = |spec: &'static MatmulVariant| {
        let (large, few, out) = (&large, &few, &out);
        let memory = spec.memory > 0 || spec.kernel.name == matmul::variants::MATMUL_TILED.name;
        Candidate {
            name: spec.name,
            check: Box::new(move || few.checked(spec)),
            call: Box::new(move || large.compute(spec, out)),
            unlikely: unlikely(gpu, spec.lanes_per_workgroup(), memory),
        }
    };
    let fitting = matmul::variants::VARIANTS.iter().rev().filter(|spec| spec.fits(gpu.capabilities(), &shape));
    Contest::hold(gpu, fitting.map(candidate).collect(), LARGEST_ERROR, pace).await
}

async fn time_rows(gpu: &Gpu, rows: usize, width: usize, used: Use, pace: Pace) -> Result<Contest> {
    let input = |rows: usize| data(gpu, rows * width, 3, DType::F32)?.reshape(&[rows, width]);
    let (large, few) = (input(rows)?, input(rows.min(70))?);
    let operands = RowOperands::new(&large)?;
    let candidate = |plan: &'static rows::Plan| {
        let (large, few, operands) = (&large, &few, &operands);
        Candidate {
            name: plan.name,
            check: Box::new(move || softmax::forward(few, *plan)),
            call: Box::new(move || match used {
                Use::Plain => softmax::forward(large, *plan).map(drop),
                used => operands.call(used, large, *plan),
            }),
            unlikely: unlikely(gpu, plan.lanes * plan.rows, plan.lanes > 1 && !plan.subgroup),
        }
    };
    let fitting = rows::PLANS.iter().filter(|plan| plan.fits(gpu, width));
    Contest::hold(gpu, fitting.map(candidate).collect(), LARGEST_ERROR, pace).await
}

/// The tensors that row kernels other than softmax read and write.
struct RowOperands {
    weight: Tensor,
    stats: Tensor,
    ids: Tensor,
    out: Tensor,
    sums: Tensor,
}

impl RowOperands {
    fn new(x: &Tensor) -> Result<Self> {
        let (gpu, rows, width) = (x.gpu(), x.height(), x.width());
        Ok(Self {
            weight: data(gpu, width, 7, DType::F32)?,
            stats: data(gpu, rows * 2, 8, DType::F32)?.reshape(&[rows, 2])?,
            ids: Tensor::from_u32(gpu, &[rows], &(0..rows as u32).map(|row| row % width as u32).collect::<Vec<_>>())?,
            out: Tensor::empty_f32(gpu, x.shape())?,
            sums: Tensor::empty_f32(gpu, &[rows, 4])?,
        })
    }

    fn call(&self, used: Use, x: &Tensor, plan: rows::Plan) -> Result<()> {
        let Self { weight, stats, ids, out, sums } = self;
        let layer = norm::Kind::Layer;
        match used {
            Use::Norm => {
                let weights = norm::Weights { weight, bias: None };
                norm::forward(layer, x, weights, 1e-5, DType::F32, plan).map(|_| ())
            }
            Use::NormBackward => norm::backward(layer, x, weight, stats, x, (out, false), plan),
            _ => head::accumulate(x, ids, sums, 0, Reading::LOSS, plan),
        }
    }
}

/// A call of attention is timed over at most this many rows, and over fewer if they take longer than [`ENOUGH`].
const ROWS: usize = 2048;

async fn time_attention(gpu: &Gpu, heads: Heads, context: usize, dtype: DType, pace: Pace) -> Result<Contest> {
    let inputs = |batch: usize, context: usize| -> Result<(Tensor, Tensor)> {
        let qkv = data(gpu, batch * context * heads.qkv_width(), 4, dtype)?;
        let grad = data(gpu, batch * context * heads.query * heads.dim, 5, dtype)?;
        Ok((qkv.reshape(&[batch, context, heads.qkv_width()])?, grad))
    };
    let compute = |spec: &AttentionVariant, (qkv, grad): &(Tensor, Tensor)| {
        let forward = attention::forward_with(spec, qkv, heads, None)?;
        let grad = grad.reshape(forward.out.shape())?;
        attention::backward_with(spec, qkv, &forward.out, &forward.lse, &grad, heads, None)
    };
    // If a single window takes long, as without a GPU, more windows tell nothing new.
    let one = inputs(1, context)?;
    let default = attention::variants::choose(gpu, heads, context, dtype);
    let seconds = gpu.time(1, 1, || compute(default, &one).map(drop)).await?;
    let windows = ((ENOUGH / seconds.max(1e-9)) as usize).clamp(1, (ROWS / context).max(1));
    let large = if windows == 1 { one } else { inputs(windows, context)? };
    let few = inputs(1, context.min(140))?;
    let most = if dtype == DType::F16 { LARGEST_HALF_ERROR } else { LARGEST_ERROR };
    let candidate = |spec: &'static AttentionVariant| {
        let (large, few) = (&large, &few);
        Candidate {
            name: spec.name,
            check: Box::new(move || compute(spec, few)),
            call: Box::new(move || compute(spec, large).map(drop)),
            unlikely: unlikely(gpu, spec.lanes, spec.has_barriers())
                || gpu.capabilities().processor && matches!(spec.kind, Kind::Blocks { .. }),
        }
    };
    let fitting = attention::variants::VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities(), heads.dim));
    Contest::hold(gpu, fitting.map(candidate).collect(), most, pace).await
}
