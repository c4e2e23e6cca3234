//! Checks packed weights: unpacking, embedding, and every variant of the fused product, for every stored format.

use super::{
    Doctor, Work,
    reference::{matmul as products, norm as norms, pointwise, position},
};
use crate::{
    Result,
    formats::{Format, Rows, quantise},
    ops::{
        embedding::Tokens,
        norm::Kind,
        packed::{
            Packed,
            product::{Activation, Fused, Norm, product_with},
            rows::{embed, unpack},
            variants::{PackedVariant, VARIANTS},
        },
    },
    random,
    tensor::Tensor,
};

/// Rows, outputs and inputs; the last for formats with blocks of 256.
const SIZES: &[[usize; 3]] = &[[1, 5, 32], [3, 34, 96], [9, 70, 160], [2, 9, 576], [4, 40, 256], [1, 6, 1280]];
/// Inputs that do not fill a block of 32, for formats without blocks.
const ODD: [usize; 3] = [3, 11, 44];
const EPSILON: f32 = 1e-5;
/// Fusing does not depend on the format, and every combination is a kernel to compile: this one meets them all.
const FUSED: Format = Format::Q4_1;

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    for (turn, format) in Format::ALL.into_iter().enumerate() {
        let variants: Vec<_> = VARIANTS
            .iter()
            .enumerate()
            .filter(|(index, spec)| {
                spec.fits(doctor.gpu.capabilities()) && (format == FUSED || doctor.takes(turn + index, 6))
            })
            .collect();
        for [m, n, k] in SIZES.iter().copied().chain([ODD]).filter(|size| size[2] % format.block() == 0) {
            tables(doctor, format, n, k).await?;
            for &(index, spec) in &variants {
                each(doctor, spec, format, [m, n, k], index).await?;
            }
        }
        if doctor.times {
            time(doctor, format, &variants)?;
        }
    }
    Ok(())
}

fn time(doctor: &mut Doctor<'_>, format: Format, variants: &[(usize, &'static PackedVariant)]) -> Result<()> {
    let (n, k) = (2048, 1024);
    let (packed, _) = weights(doctor, format, n, k)?;
    for &(_, spec) in variants {
        let x = doctor.data(spec.rows * k);
        let x = doctor.upload(&[spec.rows, k], &x)?;
        let flops = Work::Flops((2 * spec.rows * n * k) as f64);
        let packed = packed.clone();
        let call = move || product_with(|_, _| spec, &x, &packed, Fused::default()).map(|_| ());
        doctor.time((&kernel(format), spec.name), flops, call);
    }
    Ok(())
}

fn kernel(format: Format) -> String {
    format!("packed {format}")
}

/// Random stored rows: quantised values if wgpt can quantise, otherwise random bits with small scales.
fn stored(doctor: &mut Doctor<'_>, format: Format, rows: usize, width: usize) -> Result<Vec<u8>> {
    let values: Vec<f32> = doctor.data(rows * width).iter().map(|value| *value as f32).collect();
    if let Ok(bytes) = quantise(format, &values) {
        return Ok(bytes);
    }
    doctor.seed += 1;
    let seed = doctor.seed;
    let mut bytes: Vec<u8> =
        (0..format.row_bytes(rows * width) as u64).map(|i| (random::uniform(seed, 2, i) * 256.0) as u8).collect();
    let halves: &[usize] = match format {
        Format::Q5_1 | Format::Q5K => &[0, 2],
        Format::Q6K => &[208],
        _ => &[0],
    };
    for (i, block) in bytes.chunks_exact_mut(format.block_bytes()).enumerate() {
        for at in halves {
            let scale = 0.002 + 0.05 * random::uniform(seed, 3 + *at as u64, i as u64);
            block[*at..at + 2].copy_from_slice(&half::f16::from_f64(scale).to_le_bytes());
        }
    }
    Ok(bytes)
}

/// Weights on the GPU, uploaded in two parts, and their values.
fn weights(doctor: &mut Doctor<'_>, format: Format, rows: usize, width: usize) -> Result<(Packed, Vec<f64>)> {
    let bytes = stored(doctor, format, rows, width)?;
    let first = rows / 3;
    let (upper, lower) = bytes.split_at(format.row_bytes(first * width));
    let part = |rows, bytes: &[u8]| Rows { format, rows, width, bytes: bytes.to_vec().into() };
    let parts = [part(first, upper), part(rows - first, lower)];
    let values = parts.iter().flat_map(Rows::to_f32).map(f64::from).collect();
    Ok((Packed::new(doctor.gpu, &parts)?, values))
}

/// Checks unpacking and embedding.
async fn tables(doctor: &mut Doctor<'_>, format: Format, rows: usize, width: usize) -> Result<()> {
    let (packed, values) = weights(doctor, format, rows, width)?;
    let what = format!("{rows}x{width}");
    let all = unpack(&packed, 0, rows)?;
    doctor.compare((&kernel(format), "unpack"), &what, &all, &values, 1).await?;
    let some = unpack(&packed, 2, rows - 3)?;
    let expected = &values[2 * width..(rows - 1) * width];
    doctor.compare((&kernel(format), "unpack"), &format!("{what} from 2"), &some, expected, 1).await?;

    let ids: Vec<u32> = (0..6).map(|i| (i * 5 + 3) % rows as u32).collect();
    let tokens = Tokens::new(doctor.gpu, &ids, 2, 3, false)?;
    let positions = doctor.data(7 * width);
    let gpu_positions = doctor.upload(&[7, width], &positions)?;
    let out = embed(&tokens, &packed, Some(&gpu_positions), 4)?;
    let expected = position::embed(&ids, &values, width, Some(&positions), 3, 4);
    doctor.compare((&kernel(format), "embed"), &what, &out, &expected, 1).await?;
    // In the second sequence a text begins at the second token; the first token belongs to another text.
    let tokens = tokens.within(Tensor::from_u32(doctor.gpu, &[2, 3], &[0, 0, 0, 0, 5, 5])?);
    let out = embed(&tokens, &packed, Some(&gpu_positions), 4)?;
    let expected = position::embed_at(&ids, &values, width, Some(&positions), &[4, 5, 6, 4, 0, 1]);
    doctor.compare((&kernel(format), "embed"), &format!("{what} in segments"), &out, &expected, 1).await
}

/// Checks the product alone, and with everything that can be fused.
async fn each(
    doctor: &mut Doctor<'_>,
    spec: &'static PackedVariant,
    format: Format,
    [m, n, k]: [usize; 3],
    turn: usize,
) -> Result<()> {
    let (packed, values) = weights(doctor, format, n, k)?;
    let [x, norm_weight, norm_bias, bias] = [m * k, k, k, n].map(|len| doctor.data(len));
    let upload = |doctor: &Doctor<'_>, shape: &[usize], values: &[f64]| doctor.upload(shape, values);
    let gpu_x = upload(doctor, &[m, k], &x)?;
    let (gpu_weight, gpu_norm_bias) = (upload(doctor, &[k], &norm_weight)?, upload(doctor, &[k], &norm_bias)?);
    let gpu_bias = upload(doctor, &[n], &bias)?;
    let layout = products::Layout { m, n, k, batch: 1, trans_a: false, trans_b: true };
    let (name, what) = (kernel(format), format!("{m}x{n}x{k}"));
    let run = |fused: Fused<'_>| product_with(|_, _| spec, &gpu_x, &packed, fused);

    let sums = products::matmul(layout, &x, &values);
    compare(doctor, spec, &name, &what, &run(Fused::default())?, &sums, k).await?;
    if format != FUSED && !doctor.notes_only() {
        return Ok(());
    }

    for center in [false, true] {
        if !doctor.takes(turn + usize::from(center), 2) {
            continue;
        }
        let norm_bias = center.then_some(&norm_bias[..]);
        let normal: Vec<f64> = x
            .chunks_exact(k)
            .flat_map(|row| norms::norm(row, &norm_weight, norm_bias, center, f64::from(EPSILON)))
            .collect();
        let sums = products::matmul(layout, &normal, &values);
        let kind = if center { Kind::Layer } else { Kind::RootMeanSquare };
        let norm = Norm { kind, weight: &gpu_weight, bias: center.then_some(&gpu_norm_bias), epsilon: EPSILON };
        if center {
            let residual = doctor.data(m * n);
            let gpu_residual = doctor.upload(&[m, n], &residual)?;
            let (expected, _) = products::epilogue(&sums, n, Some(&bias), true, Some(&residual), None);
            let fused = Fused {
                norm: Some(norm),
                bias: Some(&gpu_bias),
                activation: Activation::Gelu,
                residual: Some(&gpu_residual),
            };
            compare(doctor, spec, &name, &format!("{what} fused"), &run(fused)?, &expected, k).await?;
        } else if n % 2 == 0 {
            let (with_bias, _) = products::epilogue(&sums, n, Some(&bias), false, None, None);
            let expected: Vec<f64> = with_bias.chunks_exact(n).flat_map(|row| pointwise::swiglu(row, n / 2)).collect();
            let fused =
                Fused { norm: Some(norm), bias: Some(&gpu_bias), activation: Activation::Swiglu, residual: None };
            compare(doctor, spec, &name, &format!("{what} SwiGLU"), &run(fused)?, &expected, k * k).await?;
        }
    }
    Ok(())
}

async fn compare(
    doctor: &mut Doctor<'_>,
    spec: &PackedVariant,
    kernel: &str,
    what: &str,
    out: &Tensor,
    expected: &[f64],
    depth: usize,
) -> Result<()> {
    doctor.compare((kernel, spec.name), what, out, expected, depth).await
}
