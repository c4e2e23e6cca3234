//! Answers the tuner's questions: every variant that fits is checked, then timed, and the fastest is remembered.

use super::{
    attention::{self, Heads},
    attention_variants,
    matmul::{self, Epilogue, Shape},
    matmul_variants, rows, softmax,
};
use crate::{
    Error, Result,
    gpu::Gpu,
    tensor::{DType, Tensor},
};

/// One timed variant.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Timing {
    /// The class of shapes.
    pub class: String,
    /// The variant.
    pub variant: &'static str,
    /// Seconds per call; `None` when it failed its check.
    pub seconds: Option<f64>,
}

/// Rounds of timing; the median counts.
const ROUNDS: usize = 5;
/// Largest normalised mean square error of a variant against the plainest one.
const LARGEST_ERROR: f64 = 1e-7;
/// The same where results are stored in f16.
const LARGEST_HALF_ERROR: f64 = 1e-6;

/// Checks and times the variants for every class that was asked for, and remembers the fastest of each.
///
/// # Errors
/// [`Error::Kernel`] when no variant of a class passes its check; those of the driver.
pub async fn answer(gpu: &Gpu, mut report: impl FnMut(&str, usize, usize)) -> Result<Vec<Timing>> {
    let open = gpu.tuner().open();
    let mut timings = Vec::new();
    for (index, (class, numbers)) in open.iter().enumerate() {
        report(class, index, open.len());
        let timed = match (class.split(' ').next(), numbers.as_slice()) {
            (Some("matmul"), numbers) => match Shape::from_numbers(numbers) {
                Some(shape) => time_matmul(gpu, shape).await?,
                None => continue,
            },
            (Some("rows"), &[rows, width]) => time_rows(gpu, rows as usize, width as usize).await?,
            (Some("attention"), &[context, query, key_value, dim, half]) => {
                let heads = Heads { query: query as usize, key_value: key_value as usize, dim: dim as usize };
                time_attention(gpu, heads, context as usize, if half != 0 { DType::F16 } else { DType::F32 }).await?
            }
            _ => continue,
        };
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

type Timed = Vec<(&'static str, Option<f64>)>;

/// Values that no transposition or shift maps onto themselves.
fn data(gpu: &Gpu, elements: usize, salt: u32, dtype: DType) -> Result<Tensor> {
    let value = |i: u32| {
        let mixed = i.wrapping_mul(2_654_435_761).wrapping_add(salt.wrapping_mul(40_503));
        (mixed >> 8) as f32 / (1 << 24) as f32 - 0.4
    };
    Tensor::from_f32_as(gpu, &[elements], &(0..elements as u32).map(value).collect::<Vec<_>>(), dtype)
}

/// Mean square difference over mean square of the reference.
fn normalised_error(values: &[f32], reference: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = values.iter().zip(reference).map(|(x, y)| square(f64::from(*x) - f64::from(*y))).sum();
    let size: f64 = reference.iter().map(|y| square(f64::from(*y))).sum();
    if error.is_finite() { error / size.max(1e-30) } else { f64::INFINITY }
}

/// The median time of `call`. One that takes more than twice the best so far is not timed a second time.
fn measure(gpu: &Gpu, timed: &Timed, call: impl Fn() -> Result<()>) -> Result<f64> {
    let once = gpu.time(1, 1, &call)?;
    let best = timed.iter().filter_map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
    if once > 2.0 * best {
        return Ok(once);
    }
    // Rounds of about 20 ms.
    gpu.time(ROUNDS, ((0.02 / once.max(1e-6)) as usize).clamp(1, 50), &call)
}

async fn time_matmul(gpu: &Gpu, shape: Shape) -> Result<Timed> {
    let dtype = shape.dtype();
    let Shape { m, n, k, batch, .. } = shape;
    let (a, b) = (data(gpu, batch * m * k, 1, dtype)?, data(gpu, batch * k * n, 2, dtype)?);
    let out = Tensor::empty_f32(gpu, &[batch * m * n])?;
    let mut reference: Option<Vec<f32>> = None;
    let mut timed = Timed::new();
    // From the plainest variant to the boldest, so that the first one is the reference of the others.
    for spec in matmul_variants::VARIANTS.iter().rev().filter(|spec| spec.fits(gpu.capabilities(), &shape)) {
        let call = || matmul::matmul_with(spec, shape, &a, &b, &out, Epilogue::default());
        super::elementwise::fill(&out, f32::NAN)?;
        call()?;
        let values = out.to_f32().await?;
        let passes = reference.as_ref().is_none_or(|reference| normalised_error(&values, reference) < LARGEST_ERROR);
        let seconds = if passes { Some(measure(gpu, &timed, call)?) } else { None };
        reference.get_or_insert(values);
        timed.push((spec.name, seconds));
    }
    Ok(timed)
}

async fn time_rows(gpu: &Gpu, rows: usize, width: usize) -> Result<Timed> {
    let x = data(gpu, rows * width, 3, DType::F32)?.reshape(&[rows, width])?;
    let mut reference: Option<Vec<f32>> = None;
    let mut timed = Timed::new();
    for plan in rows::PLANS.iter().filter(|plan| plan.fits(gpu, width)) {
        let values = softmax::forward(&x, *plan)?.to_f32().await?;
        let passes = reference.as_ref().is_none_or(|reference| normalised_error(&values, reference) < LARGEST_ERROR);
        let call = || softmax::forward(&x, *plan).map(|_| ());
        let seconds = if passes { Some(measure(gpu, &timed, call)?) } else { None };
        reference.get_or_insert(values);
        timed.push((plan.name, seconds));
    }
    Ok(timed)
}

async fn time_attention(gpu: &Gpu, heads: Heads, context: usize, dtype: DType) -> Result<Timed> {
    let batch = (2048 / context).max(1);
    let qkv =
        data(gpu, batch * context * heads.qkv_width(), 4, dtype)?.reshape(&[batch, context, heads.qkv_width()])?;
    let grad = data(gpu, batch * context * heads.query * heads.dim, 5, dtype)?;
    let most = if dtype == DType::F16 { LARGEST_HALF_ERROR } else { LARGEST_ERROR };
    let mut reference: Option<Vec<f32>> = None;
    let mut timed = Timed::new();
    for spec in attention_variants::VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities())) {
        let call = || {
            let forward = attention::forward_with(spec, &qkv, heads, None)?;
            let grad = grad.reshape(forward.out.shape())?;
            attention::backward_with(spec, &qkv, &forward.out, &forward.lse, &grad, heads, None)
        };
        let values = call()?.to_f32().await?;
        let passes = reference.as_ref().is_none_or(|reference| normalised_error(&values, reference) < most);
        let seconds = if passes { Some(measure(gpu, &timed, || call().map(|_| ()))?) } else { None };
        reference.get_or_insert(values);
        timed.push((spec.name, seconds));
    }
    Ok(timed)
}
