//! Checks token log-probabilities, and the losses over one number per token or per text.

use super::{
    Doctor,
    reference::{loss::IGNORED, rlhf as oracle},
};
use crate::{
    Result,
    ops::{
        head::{self, Reading, Slope},
        losses::{
            self, Loss, RowWeights,
            pairs::{self, Pairs},
            policy::{self, Policy},
            value,
        },
        row_sum,
        rows::{PLANS, Plan},
        token_logprobs,
    },
    tape::{Gradients, Tape},
    tensor::Tensor,
};

/// Numbers of tokens: one, a few, and more than the sum over rows takes in one pass.
const TOKENS: &[usize] = &[1, 5, 67, 301];

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    for plan in PLANS.iter().filter(|plan| plan.fits(doctor.gpu, 300)) {
        for (rows, width) in [(1, 1), (5, 3), (17, 65), (9, 300)] {
            logprobs(doctor, *plan, rows, width).await?;
            row_sums(doctor, *plan, rows, width).await?;
        }
    }
    for &tokens in TOKENS {
        policies(doctor, tokens).await?;
        values(doctor, tokens).await?;
        compared(doctor, tokens).await?;
    }
    Ok(())
}

/// The vocabulary as a whole at one temperature, and in two chunks at another.
async fn logprobs(doctor: &mut Doctor<'_>, plan: Plan, rows: usize, width: usize) -> Result<()> {
    let logits: Vec<f64> = doctor.data(rows * width).iter().map(|x| x * 8.0).collect();
    let grad = doctor.data(rows);
    let target = |row: usize| if row % 5 == 3 { IGNORED } else { (row * 31 % width) as u32 };
    let targets: Vec<u32> = (0..rows).map(target).collect();
    let (ids, slopes) = (Tensor::from_u32(doctor.gpu, &[rows], &targets)?, doctor.upload(&[rows], &grad)?);
    for (cut, temperature) in [(width, 0.7), (width / 2, 1.6)] {
        let expected = oracle::token_logprobs(&logits, &targets, temperature, &grad);
        let what = format!("[{rows}, {width}] cut at {cut}, temperature {temperature}");
        let reading = Reading { scale: (1.0 / temperature) as f32, entropy: true };
        let stats = doctor.poisoned(&[rows, 4])?;
        let columns = |first: usize, count: usize, values: &[f64]| -> Vec<f64> {
            values.chunks_exact(width).flat_map(|row| row[first..first + count].to_vec()).collect()
        };
        let mut pieces = Vec::new();
        for (first, count) in [(0, cut), (cut, width - cut)].into_iter().filter(|(_, count)| *count > 0) {
            let piece = doctor.upload(&[rows, count], &columns(first, count, &logits))?;
            head::accumulate(&piece, &ids, &stats, first, reading, plan)?;
            pieces.push((first, count, piece));
        }
        let found = token_logprobs::finish(&stats, &ids)?;
        let name = ("token_logprobs", plan.name);
        doctor.compare(name, &what, &found.logprobs, &expected.logprobs, width).await?;
        doctor.compare(name, &format!("{what} entropy"), &found.entropies, &expected.entropies, width).await?;
        for (first, count, piece) in pieces {
            let slope = Slope { factor: -1.0, rows: Some(&slopes) };
            head::backward(&piece, &ids, &stats, first, reading, slope, plan)?;
            let grad = columns(first, count, &expected.grad_logits);
            doctor.compare(("cross_entropy_backward", plan.name), &what, &piece, &grad, 1).await?;
        }
    }
    Ok(())
}

async fn row_sums(doctor: &mut Doctor<'_>, plan: Plan, rows: usize, width: usize) -> Result<()> {
    let (mut x, before, factors) = (doctor.data(rows * width), doctor.data(rows * width), doctor.data(rows));
    let weights: Vec<f64> = doctor.data(rows * width).iter().map(|w| if *w < 0.0 { 0.0 } else { *w }).collect();
    let what = format!("[{rows}, {width}]");
    let out = doctor.upload(&[rows, width], &before)?;
    let (factor, plain) = (doctor.upload(&[rows], &factors)?, doctor.upload(&[rows, width], &x)?);
    row_sum::scale_rows(&plain, &factor, &out, true)?;
    let added = oracle::scale_rows(&x, &factors, Some(&before));
    doctor.compare(("scale_rows", "flat"), &format!("{what} accumulated"), &out, &added, 1).await?;
    let out = doctor.poisoned(&[rows, width])?;
    row_sum::scale_rows(&plain, &factor, &out, false)?;
    let once = oracle::scale_rows(&x, &factors, None);
    doctor.compare(("scale_rows", "flat"), &what, &out, &once, 1).await?;
    // Elements with weight 0 may hold anything.
    x.iter_mut().zip(&weights).filter(|(_, w)| **w == 0.0).for_each(|(x, _)| *x = f64::NAN);
    let expected = oracle::weighted_row_sum(&x, &weights, width);
    let sums = row_sum::forward(&doctor.upload(&[rows * width], &x)?, &doctor.upload(&[rows, width], &weights)?, plan)?;
    doctor.compare(("weighted_row_sum", plan.name), &what, &sums, &expected, width).await
}

/// A mask that leaves out some rows, or all if `none`; the `vectors` get NaN where it does.
fn mask(doctor: &Doctor<'_>, rows: usize, none: bool, vectors: &mut [&mut Vec<f64>]) -> Result<(RowWeights, Vec<f64>)> {
    let counts: Vec<bool> = (0..rows).map(|row| !none && row % 4 != 2).collect();
    for vector in vectors {
        vector.iter_mut().zip(&counts).filter(|(_, counts)| !**counts).for_each(|(value, _)| *value = f64::NAN);
    }
    let weights = RowWeights::mean(doctor.gpu, &counts)?;
    let each = 1.0 / weights.counted.max(1) as f64;
    Ok((weights, counts.iter().map(|counts| if *counts { each } else { 0.0 }).collect()))
}

/// Checks totals and gradient. The loss is used twice with different factors, so that the chain
/// rule has a factor to carry.
async fn outcome(
    doctor: &mut Doctor<'_>,
    kernel: &str,
    what: &str,
    x: &[f64],
    expected: &oracle::Loss,
    op: impl Fn(&Tape, &Tensor) -> Result<Loss>,
) -> Result<()> {
    let (tape, mut gradients) = (Tape::new(doctor.gpu), Gradients::default());
    let leaf = doctor.upload(&[x.len()], x)?;
    tape.watch(&leaf);
    let loss = op(&tape, &leaf)?;
    let total = losses::weighted_sum(&tape, &[(&loss.mean, 0.75), (&loss.mean, -2.0)])?;
    tape.backward(&total, doctor.upload(&[1], &[1.0])?, &mut gradients)?;
    doctor.compare((kernel, "flat"), what, &loss.totals, &expected.totals, x.len()).await?;
    doctor.compare((kernel, "flat"), what, &total, &[-1.25 * expected.totals[0]], x.len()).await?;
    let slopes: Vec<f64> = expected.slopes.iter().map(|slope| -1.25 * slope).collect();
    let (slot, _) = gradients.slot(&leaf)?;
    doctor.compare((kernel, "flat"), &format!("{what} gradient"), &slot, &slopes, 1).await
}

async fn policies(doctor: &mut Doctor<'_>, rows: usize) -> Result<()> {
    for (none, clip) in [(false, 0.2), (true, 0.3)] {
        let [mut logprobs, mut old, mut advantages, mut reference] = [0; 4].map(|_| doctor.data(rows));
        // Some ratios are clipped, some log-ratios lie beyond the clamp.
        for row in (0..rows).filter(|row| row % 5 != 1) {
            old[row] = logprobs[row] + 0.3 * old[row];
        }
        for row in (0..rows).filter(|row| row % 9 == 4) {
            old[row] = logprobs[row] + if row % 2 == 0 { 23.5 } else { 21.0 };
            reference[row] = logprobs[row] - 31.0;
        }
        if rows == 5 {
            // A ratio clamped at exp(20) that would have a large gradient. It drowns out the other rows in the totals,
            // so it is only in one small batch.
            (old[4], advantages[4]) = (logprobs[4] - 21.0, -0.75);
        }
        let vectors = &mut [&mut logprobs, &mut old, &mut advantages, &mut reference];
        let (weights, each) = mask(doctor, rows, none, vectors)?;
        for with in [false, true] {
            let p = oracle::Policy {
                old: &old,
                advantages: &advantages,
                weights: &each,
                clip,
                reference: with.then_some((&reference[..], 0.25)),
            };
            let expected = oracle::policy(&logprobs, p);
            let upload = |values: &[f64]| doctor.upload(&[rows], values);
            let (old_logprobs, advantages, reference) = (&upload(&old)?, &upload(&advantages)?, &upload(&reference)?);
            let reference = with.then_some((reference, 0.25));
            let p = Policy { old_logprobs, advantages, weights: &weights, clip: clip as f32, reference };
            let what = format!("[{rows}] masked {none}, reference {with}");
            let op = |tape: &Tape, x: &Tensor| policy::policy_loss(tape, x, p);
            outcome(doctor, "policy_loss", &what, &logprobs, &expected, op).await?;
        }
    }
    Ok(())
}

async fn values(doctor: &mut Doctor<'_>, rows: usize) -> Result<()> {
    for none in [false, true] {
        let [mut values, mut old, mut returns] = [0; 3].map(|_| doctor.data(rows));
        let (weights, each) = mask(doctor, rows, none, &mut [&mut values, &mut old, &mut returns])?;
        let (gpu_old, gpu_returns) = (doctor.upload(&[rows], &old)?, doctor.upload(&[rows], &returns)?);
        let what = format!("[{rows}] masked {none}");
        let expected = oracle::value(&values, &returns, &each, Some((&old, 0.2)), 0.5);
        let op = |tape: &Tape, x: &Tensor| value::value_loss(tape, x, &gpu_returns, &weights, Some((&gpu_old, 0.2)));
        outcome(doctor, "value_loss", &format!("{what} clipped"), &values, &expected, op).await?;
        let expected = oracle::value(&values, &returns, &each, None, 1.0);
        let op = |tape: &Tape, x: &Tensor| value::squared_error(tape, x, &gpu_returns, &weights);
        outcome(doctor, "value_loss", &format!("{what} plain"), &values, &expected, op).await?;
    }
    Ok(())
}

async fn compared(doctor: &mut Doctor<'_>, count: usize) -> Result<()> {
    let (mut x, reference, margins) = (doctor.data(2 * count), doctor.data(2 * count), doctor.data(count));
    // A gap whose exponential overflows, in both directions.
    x[0] = 150.0;
    x[2 * count - 1] = if count > 1 { 120.0 } else { -120.0 };
    let gpu_reference = doctor.upload(&[count, 2], &reference)?;
    let gpu_margins = doctor.upload(&[count], &margins)?;
    for (beta, with_reference, with_margins, centring) in
        [(1.0, false, false, 0.0), (1.0, false, true, 0.01), (0.125, true, false, 0.0), (0.75, true, true, 0.25)]
    {
        let how = oracle::Pairs {
            beta,
            reference: with_reference.then_some(&reference[..]),
            margins: with_margins.then_some(&margins[..]),
            centring,
        };
        let expected = oracle::pairs(&x, how);
        let how = Pairs {
            beta: beta as f32,
            reference: with_reference.then_some(&gpu_reference),
            margins: with_margins.then_some(&gpu_margins),
            centring: centring as f32,
        };
        let what = format!("{count} pairs, beta {beta}, margins {with_margins}, centring {centring}");
        let op = |tape: &Tape, x: &Tensor| pairs::pair_loss(tape, x, how);
        outcome(doctor, "pair_loss", &what, &x, &expected, op).await?;
    }
    Ok(())
}
