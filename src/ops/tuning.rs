//! Answers the tuner's questions: every variant that fits is checked and timed, and the fastest is remembered.

use super::{
    attention::{self, Heads},
    head::{self, Reading},
    matmul::{self, Epilogue, Shape},
    norm, rows, softmax,
};
use crate::{
    Error, Result,
    gpu::{
        Gpu,
        race::{Call, Rules},
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

/// Checks and times the variants for every class that was asked for, and remembers the fastest of each class.
///
/// # Errors
/// [`Error::Kernel`] when no variant of a class passes its check; the driver's errors.
pub async fn answer(gpu: &Gpu, mut report: impl FnMut(&str, usize, usize)) -> Result<Vec<Timing>> {
    let open = gpu.tuner().open();
    let mut timings = Vec::new();
    for (index, (class, shapes)) in open.iter().enumerate() {
        report(class, index, open.len());
        let Some(numbers) = shapes.first() else { continue };
        let Some(timed) = time(gpu, class, numbers, Use::Plain, Rules::CHOOSE).await? else { continue };
        let best = timed.iter().filter_map(|(name, seconds)| seconds.map(|seconds| (*name, seconds)));
        let best = best.min_by(|left, right| left.1.total_cmp(&right.1));
        let (best, _) = best.ok_or_else(|| Error::Kernel {
            kernel: class.clone(),
            reason: "no variant passes its check on this adapter; see wgpt doctor".to_string(),
        })?;
        gpu.tuner().remember(class, best);
        timings.extend(timed.into_iter().map(|(variant, seconds)| Timing { class: class.clone(), variant, seconds }));
    }
    gpu.trim();
    Ok(timings)
}

/// Variants with their seconds; `None` for one that failed its check.
pub type Timed = Vec<(&'static str, Option<f64>)>;

/// Checks the variants that fit a shape of a class, and times those that pass. `None` for classes that are not tuned.
///
/// # Errors
/// Returns the driver's errors.
pub async fn time(gpu: &Gpu, class: &str, numbers: &[u32], used: Use, rules: Rules) -> Result<Option<Timed>> {
    Ok(match (class.split(' ').next(), numbers) {
        (Some("matmul"), numbers) => match Shape::from_numbers(numbers) {
            Some(shape) => Some(time_matmul(gpu, shape, used, rules).await?),
            None => None,
        },
        (Some("rows"), &[rows, width]) => Some(time_rows(gpu, rows as usize, width as usize, used, rules).await?),
        (Some("attention"), &[context, query, key_value, dim, half]) => {
            let heads = Heads { query: query as usize, key_value: key_value as usize, dim: dim as usize };
            let dtype = if half != 0 { DType::F16 } else { DType::F32 };
            Some(time_attention(gpu, heads, context as usize, dtype, rules).await?)
        }
        _ => None,
    })
}

/// Times the variants that passed; the call of one that failed its check is `None`.
async fn race(gpu: &Gpu, rules: Rules, contenders: Vec<(&'static str, Option<Call<'_>>)>) -> Result<Timed> {
    let names: Vec<_> = contenders.iter().map(|(name, call)| (*name, call.is_some())).collect();
    let calls: Vec<_> = contenders.into_iter().filter_map(|(_, call)| call).collect();
    let mut seconds = gpu.race(rules, &calls).await?.into_iter();
    Ok(names.into_iter().map(|(name, passed)| (name, if passed { seconds.next() } else { None })).collect())
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

async fn time_matmul(gpu: &Gpu, shape: Shape, used: Use, rules: Rules) -> Result<Timed> {
    let dtype = shape.dtype();
    let Shape { m, n, k, batch, .. } = shape;
    let (a, b) = (data(gpu, batch * m * k, 1, dtype)?, data(gpu, batch * k * n, 2, dtype)?);
    let out = Tensor::empty_f32(gpu, &[batch * m * n])?;
    let beside = if used == Use::Plain { None } else { Some(data(gpu, batch * m * n, 6, DType::F32)?) };
    let epilogue = match used {
        Use::Residual => Epilogue { residual: beside.as_ref(), ..Epilogue::default() },
        Use::Gelu => Epilogue { gelu: beside.as_ref(), ..Epilogue::default() },
        Use::Accumulate => Epilogue { accumulate: true, ..Epilogue::default() },
        _ => Epilogue::default(),
    };
    let mut reference: Option<Vec<f32>> = None;
    let mut contenders: Vec<(_, Option<Call<'_>>)> = Vec::new();
    // From the plainest variant to the most complex, so that the first is the reference for the others.
    for spec in matmul::variants::VARIANTS.iter().rev().filter(|spec| spec.fits(gpu.capabilities(), &shape)) {
        out.fill(if used == Use::Accumulate { 0.5 } else { f32::NAN })?;
        matmul::matmul_with(spec, shape, &a, &b, &out, epilogue)?;
        let values = out.to_f32().await?;
        let passes = reference.as_ref().is_none_or(|reference| normalised_error(&values, reference) < LARGEST_ERROR);
        reference.get_or_insert(values);
        let (a, b, out) = (&a, &b, &out);
        contenders.push((
            spec.name,
            if passes { Some(Box::new(move || matmul::matmul_with(spec, shape, a, b, out, epilogue))) } else { None },
        ));
    }
    race(gpu, rules, contenders).await
}

async fn time_rows(gpu: &Gpu, rows: usize, width: usize, used: Use, rules: Rules) -> Result<Timed> {
    let x = data(gpu, rows * width, 3, DType::F32)?.reshape(&[rows, width])?;
    let others = RowOperands::new(&x)?;
    let mut reference: Option<Vec<f32>> = None;
    let mut contenders: Vec<(_, Option<Call<'_>>)> = Vec::new();
    for plan in rows::PLANS.iter().filter(|plan| plan.fits(gpu, width)) {
        let values = softmax::forward(&x, *plan)?.to_f32().await?;
        let passes = reference.as_ref().is_none_or(|reference| normalised_error(&values, reference) < LARGEST_ERROR);
        reference.get_or_insert(values);
        let (x, others) = (&x, &others);
        let call = move || match used {
            Use::Plain => softmax::forward(x, *plan).map(|_| ()),
            used => others.call(used, x, *plan),
        };
        contenders.push((plan.name, if passes { Some(Box::new(call)) } else { None }));
    }
    race(gpu, rules, contenders).await
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

/// A call of attention is timed over at most this many rows, and over fewer if they take longer than [`LONG`].
const ROWS: usize = 2048;
/// Seconds per call that are enough to tell variants apart.
const LONG: f64 = 0.1;

async fn time_attention(gpu: &Gpu, heads: Heads, context: usize, dtype: DType, rules: Rules) -> Result<Timed> {
    let inputs = |batch: usize| -> Result<(Tensor, Tensor)> {
        let qkv = data(gpu, batch * context * heads.qkv_width(), 4, dtype)?;
        let grad = data(gpu, batch * context * heads.query * heads.dim, 5, dtype)?;
        Ok((qkv.reshape(&[batch, context, heads.qkv_width()])?, grad))
    };
    let call = |spec: &'static attention::variants::AttentionVariant, (qkv, grad): &(Tensor, Tensor)| {
        let forward = attention::forward_with(spec, qkv, heads, None)?;
        let grad = grad.reshape(forward.out.shape())?;
        attention::backward_with(spec, qkv, &forward.out, &forward.lse, &grad, heads, None)
    };
    // If a single window takes long, as without a GPU, more windows tell nothing new.
    let one = inputs(1)?;
    let seconds = gpu.time(1, 1, || call(&attention::variants::VARIANTS[0], &one).map(|_| ())).await?;
    let windows = ((LONG / seconds.max(1e-9)) as usize).clamp(1, (ROWS / context).max(1));
    let inputs = if windows == 1 { one } else { inputs(windows)? };
    let most = if dtype == DType::F16 { LARGEST_HALF_ERROR } else { LARGEST_ERROR };
    let mut reference: Option<Vec<f32>> = None;
    let mut contenders: Vec<(_, Option<Call<'_>>)> = Vec::new();
    for spec in attention::variants::VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities())) {
        let values = call(spec, &inputs)?.to_f32().await?;
        let passes = reference.as_ref().is_none_or(|reference| normalised_error(&values, reference) < most);
        reference.get_or_insert(values);
        let inputs = &inputs;
        contenders
            .push((spec.name, if passes { Some(Box::new(move || call(spec, inputs).map(|_| ()))) } else { None }));
    }
    race(gpu, rules, contenders).await
}
