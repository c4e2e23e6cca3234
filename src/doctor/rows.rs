//! Checks the row kernels with every plan: norms, softmax, cross entropy.

use super::{
    Doctor, Work,
    reference::{loss, norm as oracle},
};
use crate::{
    Result,
    ops::{
        attention::Heads,
        head::{self, Reading, Slope},
        head_norm, norm,
        rows::{PLANS, Plan},
        softmax,
    },
    tensor::{DType, Tensor},
};

/// Rows and width.
const SIZES: &[(usize, usize)] = &[(1, 1), (5, 3), (17, 65), (9, 300), (67, 128), (2, 70_001), (2, 70_004)];

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    for (turn, plan) in PLANS.iter().enumerate().filter(|(_, plan)| plan.fits(doctor.gpu, 1)) {
        for &(rows, width) in SIZES.iter().filter(|(_, width)| plan.fits(doctor.gpu, *width)) {
            norms(doctor, *plan, rows, width, turn + usize::from(doctor.half())).await?;
            if doctor.half() {
                // Scores and their losses are f32 in every precision.
                continue;
            }
            softmaxes(doctor, *plan, rows, width).await?;
            losses(doctor, *plan, rows, width).await?;
        }
        for &(tokens, query, key_value, dim) in &[(1, 1, 1, 1), (5, 3, 1, 4), (37, 4, 2, 65), (9, 2, 1, 36)] {
            if doctor.takes(turn + usize::from(doctor.half()), 2) {
                head_norms(doctor, *plan, tokens, Heads { query, key_value, dim }).await?;
            }
        }
        if !doctor.half() {
            time(doctor, *plan)?;
        }
    }
    Ok(())
}

async fn norms(doctor: &mut Doctor<'_>, plan: Plan, rows: usize, width: usize, turn: usize) -> Result<()> {
    let (x, weight, bias) = (doctor.data(rows * width), doctor.data(width), doctor.data(width));
    let (grad, before) = (doctor.data(rows * width), doctor.data(rows * width));
    let what = format!("[{rows}, {width}]");
    for (kind, center) in [(norm::Kind::Layer, true), (norm::Kind::RootMeanSquare, false)] {
        if !center && !doctor.takes(turn, 2) {
            continue;
        }
        let kernel = if center { "layernorm" } else { "rmsnorm" };
        // An epsilon large enough to matter, because rows of one element have no variance at all.
        let epsilon = 0.01;
        let bias = center.then_some(&bias[..]);
        let expected = oracle::norm(&x, &weight, bias, center, epsilon);
        let back = oracle::norm_backward(&x, &weight, &grad, center, epsilon);
        let (x, w) = (doctor.upload(&[rows, width], &x)?, doctor.upload(&[width], &weight)?);
        let b = bias.map(|bias| doctor.upload(&[width], bias)).transpose()?;
        let g = doctor.store(&[rows, width], &grad)?;
        let weights = norm::Weights { weight: &w, bias: b.as_ref() };
        let forward = norm::forward(kind, &x, weights, epsilon as f32, doctor.element, plan)?;
        doctor.compare((kernel, plan.name), &what, &forward.out, &expected, width).await?;

        let name = format!("{kernel}_backward");
        let out = doctor.poisoned(&[rows, width])?;
        norm::backward(kind, &x, &w, &forward.stats, &g, (&out, false), plan)?;
        doctor.compare((&name, plan.name), &what, &out, &back.x, width).await?;
        let out = doctor.upload(&[rows, width], &before)?;
        norm::backward(kind, &x, &w, &forward.stats, &g, (&out, true), plan)?;
        let added: Vec<f64> = before.iter().zip(&back.x).map(|(a, b)| a + b).collect();
        doctor.compare((&name, plan.name), &format!("{what} accumulated"), &out, &added, width).await?;

        let (grad_weight, grad_bias) = (doctor.poisoned(&[width])?, doctor.poisoned(&[width])?);
        let wanted = center.then(|| (grad_bias.clone(), false));
        norm::backward_weight(&x, &forward.stats, &g, (&grad_weight, false), wanted)?;
        let name = format!("{kernel}_backward_weight");
        doctor.compare((&name, "columns"), &what, &grad_weight, &back.weight, rows).await?;
        if center {
            doctor.compare((&name, "columns"), &what, &grad_bias, &back.bias, rows).await?;
        }
    }
    Ok(())
}

async fn softmaxes(doctor: &mut Doctor<'_>, plan: Plan, rows: usize, width: usize) -> Result<()> {
    // Far from zero, where exp alone would overflow.
    let x: Vec<f64> = doctor.data(rows * width).iter().map(|x| f64::from((x * 20.0 + 100.0) as f32)).collect();
    let grad = doctor.data(rows * width);
    let expected = oracle::softmax(&x, width);
    let what = format!("[{rows}, {width}]");
    let actual = softmax::forward(&doctor.upload(&[rows, width], &x)?, plan)?;
    doctor.compare(("softmax", plan.name), &what, &actual, &expected, 1).await?;
    let (y, g) = (doctor.upload(&[rows, width], &expected)?, doctor.upload(&[rows, width], &grad)?);
    let actual = softmax::backward(&y, &g, plan)?;
    doctor
        .compare(("softmax_backward", plan.name), &what, &actual, &oracle::softmax_backward(&expected, &grad, width), 1)
        .await
}

/// Checks cross entropy with the vocabulary as a whole, and in two chunks.
async fn losses(doctor: &mut Doctor<'_>, plan: Plan, rows: usize, width: usize) -> Result<()> {
    let logits: Vec<f64> = doctor.data(rows * width).iter().map(|x| x * 8.0).collect();
    let target = |row: usize| if row % 5 == 3 { loss::IGNORED } else { (row * 31 % width) as u32 };
    let targets: Vec<u32> = (0..rows).map(target).collect();
    let expected = loss::cross_entropy(&logits, &targets);
    let scored = targets.iter().filter(|&&id| id != loss::IGNORED).count();
    let slope = Slope { factor: 1.0 / scored as f32, rows: None };
    let ids = Tensor::from_u32(doctor.gpu, &[rows], &targets)?;
    for cut in [width, width / 2] {
        if cut == 0 {
            continue;
        }
        let what = format!("[{rows}, {width}] cut at {cut}");
        let stats = doctor.poisoned(&[rows, 4])?;
        let columns = |first: usize, count: usize, values: &[f64]| -> Vec<f64> {
            values.chunks_exact(width).flat_map(|row| row[first..first + count].to_vec()).collect()
        };
        let mut pieces = Vec::new();
        for (first, count) in [(0, cut), (cut, width - cut)].into_iter().filter(|(_, count)| *count > 0) {
            let piece = doctor.upload(&[rows, count], &columns(first, count, &logits))?;
            head::accumulate(&piece, &ids, &stats, first, Reading::LOSS, plan)?;
            pieces.push((first, count, piece));
        }
        let losses: Vec<f32> = stats.to_f32().await?.chunks_exact(4).map(|row| row[3]).collect();
        let losses = Tensor::from_f32(doctor.gpu, &[rows], &losses)?;
        doctor.compare(("cross_entropy", plan.name), &what, &losses, &expected.rows, width).await?;
        for (first, count, piece) in pieces {
            head::backward(&piece, &ids, &stats, first, Reading::LOSS, slope, plan)?;
            let grad = columns(first, count, &expected.grad_logits);
            doctor.compare(("cross_entropy_backward", plan.name), &what, &piece, &grad, 1).await?;
        }
    }
    Ok(())
}

async fn head_norms(doctor: &mut Doctor<'_>, plan: Plan, tokens: usize, heads: Heads) -> Result<()> {
    let (dim, epsilon) = (heads.dim, 0.01);
    let len = tokens * heads.qkv_width();
    let (x, grad) = (doctor.data(len), doctor.data(len));
    let (query, key, before) = (doctor.data(dim), doctor.data(dim), doctor.data(dim));
    let shape = oracle::HeadNorm { query: heads.query, key_value: heads.key_value, dim, epsilon };
    let expected = oracle::head_norm(shape, &x, [&query, &key]);
    let (grad_x, grad_weights) = oracle::head_norm_backward(shape, &x, [&query, &key], &grad);
    let what = format!("{tokens} tokens of {heads:?}");
    let size = [1, tokens, heads.qkv_width()];
    let (x, g) = (doctor.store(&size, &x)?, doctor.store(&size, &grad)?);
    let weights = head_norm::Weights { query: doctor.upload(&[dim], &query)?, key: doctor.upload(&[dim], &key)? };
    let (out, rstds) = head_norm::forward(&x, &weights, heads, epsilon as f32, plan)?;
    doctor.compare(("head_norm", plan.name), &what, &out, &expected, dim).await?;
    let back = head_norm::backward(&x, &weights, &rstds, &g, heads, plan)?;
    doctor.compare(("head_norm_backward", plan.name), &what, &back, &grad_x, dim).await?;
    let (fresh, added) = (doctor.poisoned(&[dim])?, doctor.upload(&[dim], &before)?);
    head_norm::backward_weights(&x, &rstds, &g, heads, (&fresh, false), (&added, true))?;
    let sums: Vec<f64> = before.iter().zip(&grad_weights[1]).map(|(a, b)| a + b).collect();
    let name = ("head_norm_backward_weight", "flat");
    doctor.compare(name, &what, &fresh, &grad_weights[0], tokens * heads.query).await?;
    doctor.compare(name, &format!("{what} accumulated"), &added, &sums, tokens * heads.key_value).await
}

fn time(doctor: &mut Doctor<'_>, plan: Plan) -> Result<()> {
    let (rows, width) = (1024, 512);
    let x = doctor.upload(&[rows, width], &vec![0.5; rows * width])?;
    let w = doctor.upload(&[width], &vec![1.0; width])?;
    let bytes = (rows * width * 4) as f64;
    let kind = norm::Kind::Layer;
    let stats = norm::forward(kind, &x, norm::Weights { weight: &w, bias: Some(&w) }, 1e-5, DType::F32, plan)?.stats;
    let out = doctor.poisoned(&[rows, width])?;
    let (input, factors) = (x.clone(), w.clone());
    let call = move || {
        let weights = norm::Weights { weight: &factors, bias: Some(&factors) };
        norm::forward(kind, &input, weights, 1e-5, DType::F32, plan).map(|_| ())
    };
    doctor.time(("layernorm", plan.name), Work::Bytes(2.0 * bytes), call);
    let input = x.clone();
    let call = move || norm::backward(kind, &input, &w, &stats, &input, (&out, false), plan);
    doctor.time(("layernorm_backward", plan.name), Work::Bytes(3.0 * bytes), call);
    let call = move || softmax::forward(&x, plan).map(|_| ());
    doctor.time(("softmax", plan.name), Work::Bytes(2.0 * bytes), call);
    Ok(())
}
