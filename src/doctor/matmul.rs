//! Checks all forms and variants of matmul.

use super::{Doctor, Work, reference::matmul as oracle};
use crate::{
    Result,
    ops::matmul::{
        Epilogue, Shape, matmul_with,
        variants::{MatmulVariant, Types, VARIANTS},
    },
    tensor::{
        DType::{F16, F32},
        Tensor,
    },
};

/// Odd, prime and degenerate sizes, some that are multiples of four, one whose k fills tiles, few rows with such sizes, and one
/// for split sums with a shorter last range.
const SIZES: &[(usize, usize, usize, usize)] = &[
    (1, 1, 1, 1),
    (3, 5, 7, 2),
    (65, 33, 17, 1),
    (1, 130, 67, 1),
    (40, 68, 36, 2),
    (33, 260, 12, 1),
    (20, 36, 64, 2),
    (1, 35, 68, 2),
    (3, 66, 132, 1),
    (7, 9, 36, 2),
    (68, 36, 1036, 2),
];

/// The combinations of types in mixed-precision training: activations times weights, and gradients
/// of either type times both.
const HALF: &[Types] = &[
    Types { a: F16, b: F16, out: F16, before: F16 },
    Types { a: F16, b: F16, out: F32, before: F32 },
    Types { a: F32, b: F16, out: F16, before: F16 },
    Types { a: F32, b: F16, out: F32, before: F32 },
];

/// How A and B may lie: transposed or not.
const FORMS: &[(bool, bool)] = &[(false, false), (false, true), (true, false), (true, true)];

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    let side = 512;
    let (a, b) = (doctor.store(&[side * side], &doctor_data(1))?, doctor.store(&[side * side], &doctor_data(2))?);
    let operands = (a, b, doctor.poisoned(&[side * side])?);
    for (index, spec) in VARIANTS.iter().enumerate() {
        if doctor.notes_only() {
            for &(trans_a, trans_b) in FORMS {
                noted(doctor, spec, trans_a, trans_b)?;
            }
            continue;
        }
        let (half, thorough) = (doctor.half(), doctor.thorough);
        let of = |&(trans_a, trans_b): &(bool, bool)| {
            let shapes = SIZES.iter().map(|&(m, n, k, batch)| Shape { m, n, k, batch, trans_a, trans_b, half });
            shapes.filter(|shape| spec.fits(doctor.gpu.capabilities(), shape)).collect::<Vec<_>>()
        };
        // The sizes of each form that the variant is for.
        let forms: Vec<_> = FORMS.iter().map(of).filter(|shapes| !shapes.is_empty()).collect();
        for (form, shapes) in forms.iter().enumerate() {
            if !doctor.takes(index + form, forms.len()) {
                continue;
            }
            // Each is a kernel to compile: every variant meets every mixture and every epilogue, but not in every form. Those of
            // one form alone, and mixtures, share the epilogues with the others of their kernel.
            let mixture = |turn: usize| if half { HALF[(index + form + turn) % HALF.len()] } else { Types::SINGLE };
            let here = |turn: &usize| match half || forms.len() == 1 || !thorough {
                true => *turn == (index + form) % FUSED.len(),
                false => turn % forms.len() == form,
            };
            for &shape in shapes {
                if thorough || !half {
                    plain(doctor, spec, shape, mixture(0)).await?;
                }
                for turn in (0..FUSED.len()).filter(here) {
                    fused(doctor, spec, shape, mixture(2), FUSED[turn]).await?;
                }
            }
            let Some(&Shape { trans_a, trans_b, .. }) = shapes.first() else { continue };
            let busy = Shape { m: side, n: side, k: side, batch: 1, trans_a, trans_b, half };
            let (a, b, out) = operands.clone();
            let call = move || matmul_with(spec, busy, &a, &b, &out, Epilogue::default());
            doctor.time((&name(shape_form(&busy)), spec.name), Work::Flops(busy.flops()), call);
        }
    }
    Ok(())
}

/// How a product may end: bias, GELU, residual.
const FUSED: &[[bool; 3]] = &[
    [true, true, true],
    [true, false, false],
    [true, true, false],
    [false, true, false],
    [true, false, true],
    [false, false, true],
];

/// Every combination of types with every epilogue, on an imagined device.
fn noted(doctor: &Doctor<'_>, spec: &MatmulVariant, trans_a: bool, trans_b: bool) -> Result<()> {
    let mixtures = if doctor.half() { HALF } else { &[Types::SINGLE] };
    let sizes = SIZES.iter().map(|&(m, n, k, batch)| Shape { m, n, k, batch, trans_a, trans_b, half: doctor.half() });
    for shape in sizes.filter(|shape| spec.fits(doctor.gpu.capabilities(), shape)) {
        let Shape { m, n, k, batch, .. } = shape;
        for types in mixtures {
            let empty = |elements, dtype| Tensor::empty(doctor.gpu, &[elements], dtype);
            let (a, b) = (empty(batch * m * k, types.a)?, empty(batch * k * n, types.b)?);
            let (out, before) = (empty(batch * m * n, types.out)?, empty(batch * m * n, types.before)?);
            let (bias, residual) = (empty(n, F32)?, empty(batch * m * n, F32)?);
            for &[with_bias, gelu, with_residual] in [[false; 3]].iter().chain(FUSED) {
                let epilogue = Epilogue {
                    bias: with_bias.then_some(&bias),
                    gelu: gelu.then_some(&before),
                    residual: with_residual.then_some(&residual),
                    accumulate: false,
                };
                matmul_with(spec, shape, &a, &b, &out, epilogue)?;
            }
        }
    }
    Ok(())
}

fn doctor_data(salt: usize) -> Vec<f64> {
    (0..512 * 512).map(|i| ((i * 7919 + salt) % 1009) as f64 / 1009.0 - 0.4).collect()
}

fn shape_form(shape: &Shape) -> &'static str {
    match (shape.trans_a, shape.trans_b) {
        (false, false) => "nn",
        (false, true) => "nt",
        (true, false) => "tn",
        (true, true) => "tt",
    }
}

fn name(form: &str) -> String {
    format!("matmul {form}")
}

fn layout(shape: Shape) -> oracle::Layout {
    let Shape { m, n, k, batch, trans_a, trans_b, .. } = shape;
    oracle::Layout { m, n, k, batch, trans_a, trans_b }
}

/// Checks the product alone, first overwriting and then accumulating.
async fn plain(doctor: &mut Doctor<'_>, spec: &MatmulVariant, shape: Shape, types: Types) -> Result<()> {
    let Shape { m, n, k, batch, .. } = shape;
    let (a, b) = (doctor.data(batch * m * k), doctor.data(batch * k * n));
    let sums = oracle::matmul(layout(shape), &a, &b);
    let (a, b) = (doctor.upload_as(&[a.len()], &a, types.a)?, doctor.upload_as(&[b.len()], &b, types.b)?);
    let out = doctor.poisoned_as(&[batch * m * n], types.out)?;
    let (kernel, what) = (name(shape_form(&shape)), format!("{shape:?} {types:?}"));
    matmul_with(spec, shape, &a, &b, &out, Epilogue::default())?;
    doctor.compare((&kernel, spec.name), &what, &out, &sums, k).await?;
    matmul_with(spec, shape, &a, &b, &out, Epilogue { accumulate: true, ..Epilogue::default() })?;
    let twice: Vec<f64> = sums.iter().map(|x| 2.0 * x).collect();
    doctor.compare((&kernel, spec.name), &format!("{what} accumulated"), &out, &twice, k).await
}

/// An epilogue of [`FUSED`].
async fn fused(
    doctor: &mut Doctor<'_>,
    spec: &MatmulVariant,
    shape: Shape,
    types: Types,
    [with_bias, with_gelu, with_residual]: [bool; 3],
) -> Result<()> {
    let Shape { m, n, k, batch, .. } = shape;
    let (a, b) = (doctor.data(batch * m * k), doctor.data(batch * k * n));
    let bias = with_bias.then(|| doctor.data(n));
    let residual = with_residual.then(|| doctor.data(batch * m * n));
    let sums = oracle::matmul(layout(shape), &a, &b);
    let (expected, before) = oracle::epilogue(&sums, n, bias.as_deref(), with_gelu, residual.as_deref(), None);
    let (a, b) = (doctor.upload_as(&[a.len()], &a, types.a)?, doctor.upload_as(&[b.len()], &b, types.b)?);
    let bias = bias.map(|bias| doctor.upload(&[n], &bias)).transpose()?;
    let residual = residual.map(|residual| doctor.upload(&[batch, m, n], &residual)).transpose()?;
    let out = doctor.poisoned_as(&[batch, m, n], types.out)?;
    let preactivation = with_gelu.then(|| doctor.poisoned_as(&[batch, m, n], types.before)).transpose()?;
    let epilogue =
        Epilogue { bias: bias.as_ref(), gelu: preactivation.as_ref(), residual: residual.as_ref(), accumulate: false };
    matmul_with(spec, shape, &a, &b, &out, epilogue)?;
    let parts = [(with_bias, "bias"), (with_gelu, "GELU"), (with_residual, "residual")];
    let parts: Vec<_> = parts.iter().filter(|(with, _)| *with).map(|(_, part)| *part).collect();
    let (kernel, what) = (name(shape_form(&shape)), format!("{shape:?} {types:?} with {}", parts.join(", ")));
    doctor.compare((&kernel, spec.name), &what, &out, &expected, k).await?;
    match &preactivation {
        Some(values) => doctor.compare((&kernel, spec.name), &format!("{what}, before GELU"), values, &before, k).await,
        None => Ok(()),
    }
}
