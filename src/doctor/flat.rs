//! Checks flat kernels, sums and the optimizer.

use super::{
    Doctor, Work,
    reference::{optimizer as step_oracle, pointwise as oracle},
};
use crate::{
    Result, binds,
    gpu::watch::NOT_FINITE,
    ops::{activation, elementwise, optimizer, reduce, roofline},
    params,
    tape::Tape,
};

/// Lengths around the boundaries of vectors and workgroups.
const LENGTHS: &[usize] = &[1, 3, 64, 255, 1030, 70_001];

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    let tape = Tape::off(doctor.gpu);
    for &length in LENGTHS {
        let (a, b) = (doctor.data(length), doctor.data(length));
        let (x, y) = (doctor.store(&[length], &a)?, doctor.store(&[length], &b)?);
        let what = format!("[{length}]");
        let out = doctor.poisoned_as(&[length], doctor.element)?;
        out.fill(2.5)?;
        doctor.compare(("fill", "flat"), &what, &out, &vec![2.5; length], 1).await?;
        let out = doctor.poisoned(&[length])?;
        x.scale_into(&out, -1.5, false)?;
        doctor.compare(("scale", "flat"), &what, &out, &oracle::scale(&a, -1.5, None), 1).await?;
        y.scale_into(&out, 0.5, true)?;
        let expected = oracle::scale(&b, 0.5, Some(&oracle::scale(&a, -1.5, None)));
        doctor.compare(("scale", "flat"), &format!("{what} accumulated"), &out, &expected, 1).await?;
        let residual = doctor.upload(&[length], &a)?;
        doctor
            .compare(("add", "flat"), &what, &elementwise::add(&tape, &residual, &y)?, &oracle::add(&a, &b), 1)
            .await?;
        let wide: Vec<f64> = a.iter().map(|x| x * 6.0).collect();
        let actual = activation::gelu_backward(&doctor.store(&[length], &wide)?, &y)?;
        doctor.compare(("gelu_backward", "flat"), &what, &actual, &oracle::gelu_backward(&wide, &b), 1).await?;
        let actual = elementwise::dropout(&tape, &x, 0.25, 99)?;
        doctor.compare(("dropout", "flat"), &what, &actual, &oracle::dropout(&a, 0.25, 99), 1).await?;
        adamw(doctor, length).await?;
        not_finite(doctor, length).await?;
        if doctor.half() {
            // The rest is f32 in every precision.
            continue;
        }
        let expected: Vec<f64> = wide.iter().map(|x| oracle::gelu(*x)).collect();
        let actual = activation::gelu(&doctor.upload(&[length], &wide)?)?;
        doctor.compare(("gelu", "flat"), &what, &actual, &expected, 1).await?;
        let total = reduce::sum(&x, length, 0, 1, 0.5, false)?;
        doctor.compare(("sum", "group"), &what, &total, &[a.iter().sum::<f64>() * 0.5], length).await?;
        let norm = reduce::global_norm(doctor.gpu, &[&x, &y], 1.0)?;
        let both: Vec<f64> = a.iter().chain(&b).copied().collect();
        doctor.compare(("square_sum", "group"), &what, &norm, &[oracle::norm(&both)], 1).await?;
    }
    for (rows, width) in [(1, 1), (7, 5), (33, 64), (300, 66), (1000, 3), (9001, 8)] {
        let (x, g) = (doctor.data(rows * 2 * width), doctor.data(rows * width));
        let what = format!("[{rows}, {width}]");
        let (gates, grad) = (doctor.store(&[rows, 2 * width], &x)?, doctor.store(&[rows, width], &g)?);
        let actual = activation::swiglu(&tape, &gates)?;
        doctor.compare(("swiglu", "flat"), &what, &actual, &oracle::swiglu(&x, width), 1).await?;
        let actual = activation::swiglu_backward(&gates, &grad)?;
        doctor.compare(("swiglu_backward", "flat"), &what, &actual, &oracle::swiglu_backward(&x, &g, width), 1).await?;
        let out = doctor.poisoned(&[width])?;
        reduce::column_sum(&grad, &out, false)?;
        let once = oracle::column_sum(&g, width, None);
        doctor.compare(("column_sum", "flat"), &what, &out, &once, rows).await?;
        reduce::column_sum(&grad, &out, true)?;
        let twice = oracle::column_sum(&g, width, Some(&once));
        doctor.compare(("column_sum", "flat"), &format!("{what} accumulated"), &out, &twice, rows).await?;
    }
    if doctor.half() {
        return Ok(());
    }
    rate(doctor).await?;
    time(doctor)
}

/// The chains of multiply-adds that measure the adapter's roofline: with the factor 1/2, each converges to twice its
/// start, so that the expected sum of all is known exactly.
async fn rate(doctor: &mut Doctor<'_>) -> Result<()> {
    let products = roofline::MultiplyAdds::new(doctor.gpu)?;
    products.run()?;
    let out = products.result();
    // 8 chains of vectors that start from id mod 7 + (0, 1, 2, 3).
    let expected: Vec<f64> = (0..out.elements()).map(|id| 16.0 * (4.0 * (id % 7) as f64 + 6.0)).collect();
    doctor.compare(("fma_rate", "flat"), "the sums of all chains", out, &expected, 1).await
}

async fn adamw(doctor: &mut Doctor<'_>, length: usize) -> Result<()> {
    let mut host = [doctor.data(length), doctor.data(length), doctor.data(length)];
    // Second moments are never negative.
    host[2].iter_mut().for_each(|v| *v = v.abs());
    let gradient = doctor.data(length);
    // In mixed precision, gradients are scaled and an f16 copy is kept.
    let scale = if doctor.half() { 1024.0 } else { 1.0 };
    let scaled: Vec<f64> = gradient.iter().map(|g| g * scale).collect();
    let state = optimizer::State {
        weight: doctor.upload(&[length], &host[0])?,
        gradient: doctor.upload(&[length], &scaled)?,
        m: doctor.upload(&[length], &host[1])?,
        v: doctor.upload(&[length], &host[2])?,
        half: if doctor.half() { Some(doctor.poisoned_as(&[length], doctor.element)?) } else { None },
    };
    let norm = doctor.upload(&[1], &[3.0])?;
    for (number, max_norm) in [(1, 1.0), (2, 0.0)] {
        let step =
            step_oracle::Step { lr: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decay: 0.1, step: number, max_norm };
        let [w, m, v] = &mut host;
        step_oracle::adamw(step, w, m, v, &gradient, 3.0);
        let step = optimizer::Step {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            decay: 0.1,
            correction1: (1.0 - 0.9f64.powi(number)) as f32,
            correction2: (1.0 - 0.99f64.powi(number)) as f32,
            max_norm: max_norm as f32,
            unscale: doctor.half().then_some(1.0 / scale as f32),
        };
        optimizer::adamw(step, &state, &norm)?;
        // After an overflow nothing may change.
        let overflow = doctor.upload(&[1], &[f64::INFINITY])?;
        optimizer::adamw(step, &state, &overflow)?;
        for (name, actual, expected) in
            [("weight", &state.weight, &host[0]), ("m", &state.m, &host[1]), ("v", &state.v, &host[2])]
        {
            let what = format!("[{length}] {name}, step {number}");
            doctor.compare(("adamw", "flat"), &what, actual, expected, 1).await?;
        }
        if let Some(half) = &state.half {
            let what = format!("[{length}] copy, step {number}");
            doctor.compare(("adamw", "flat"), &what, half, &host[0], 1).await?;
        }
    }
    Ok(())
}

/// The check of what is written, by which the cause of a NaN is found.
async fn not_finite(doctor: &mut Doctor<'_>, length: usize) -> Result<()> {
    // Numbers of f32 above 0 are ordered as their bits are.
    let (before, number) = (9.0, 5.0);
    for (value, expected) in [(65504.0, before), (f64::NEG_INFINITY, number), (f64::NAN, number)] {
        let mut values = doctor.data(length);
        values[length - 1] = value;
        let x = doctor.store(&[length], &values)?;
        let first = doctor.upload(&[1], &[before])?;
        let (variant, count) = (NOT_FINITE.set("HALF", doctor.half()), x.bytes().div_ceil(4) as usize);
        let params = params![count: count, number: (number as f32).to_bits()];
        doctor.gpu.run(&variant, binds![x: x.bind(), first: first.bind()], params, doctor.gpu.flat_grid(count))?;
        doctor.compare(("not_finite", "flat"), &format!("[{length}] {value}"), &first, &[expected], 1).await?;
    }
    Ok(())
}

fn time(doctor: &mut Doctor<'_>) -> Result<()> {
    let length = 1 << 20;
    let (bytes, tape) = (4.0 * f64::from(1 << 20), Tape::off(doctor.gpu));
    let x = doctor.upload(&[length], &vec![0.5; length])?;
    let out = [
        doctor.poisoned(&[length])?,
        doctor.upload(&[length], &vec![0.1; length])?,
        doctor.upload(&[length], &vec![0.1; length])?,
    ];
    let to = out[0].clone();
    doctor.time(("fill", "flat"), Work::Bytes(bytes), move || to.fill(1.0));
    let (from, to) = (x.clone(), out[0].clone());
    doctor.time(("scale", "flat"), Work::Bytes(2.0 * bytes), move || from.scale_into(&to, 1.5, false));
    let from = x.clone();
    doctor.time(("add", "flat"), Work::Bytes(3.0 * bytes), move || elementwise::add(&tape, &from, &from).map(|_| ()));
    let from = x.clone();
    doctor.time(("gelu", "flat"), Work::Bytes(2.0 * bytes), move || activation::gelu(&from).map(|_| ()));
    let from = x.clone();
    let call = move || activation::gelu_backward(&from, &from).map(|_| ());
    doctor.time(("gelu_backward", "flat"), Work::Bytes(3.0 * bytes), call);
    let step = optimizer::Step {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        decay: 0.1,
        correction1: 0.1,
        correction2: 0.01,
        max_norm: 1.0,
        unscale: None,
    };
    let norm = doctor.upload(&[1], &[1.0])?;
    let [weight, m, v] = out;
    let state = optimizer::State { weight, gradient: x, m, v, half: None };
    doctor.time(("adamw", "flat"), Work::Bytes(7.0 * bytes), move || optimizer::adamw(step, &state, &norm));
    Ok(())
}
