//! Verifies the backward oracles with central finite differences. Uses no GPU.

use wgpt::doctor::reference::{attention, lora, loss, matmul, norm, optimizer, pointwise, position};

use crate::support;

/// Values in -1..1.5, a function of seed and index.
pub fn data(seed: u64, len: usize) -> Vec<f64> {
    support::to_f64(&support::data(seed, len))
}

/// Checks that `analytic` is the gradient of `sum(weights * f(x))`: compares every element with central differences
/// (five points, error of order step^4) to a relative 1e-6. Where gradients vanish, the differences' own rounding is
/// allowed: 1e-9 of the largest gradient.
pub fn proves(name: &str, x: &[f64], weights: &[f64], f: impl Fn(&[f64]) -> Vec<f64>, analytic: &[f64]) {
    let (outputs, step) = (f(x).len(), 1e-3);
    assert!(outputs == weights.len() && analytic.len() == x.len(), "{name}: the lengths differ");
    let scale = analytic.iter().fold(0.0f64, |most, g| most.max(g.abs()));
    assert!(scale > 1e-3, "{name}: the gradient is too small to prove anything");
    for i in 0..x.len() {
        let value = |steps: f64| {
            let mut moved = x.to_vec();
            moved[i] += steps * step;
            f(&moved).iter().zip(weights).map(|(y, w)| y * w).sum::<f64>()
        };
        let numeric = (8.0 * (value(1.0) - value(-1.0)) - (value(2.0) - value(-2.0))) / (12.0 * step);
        let error = (numeric - analytic[i]).abs();
        let proven = error <= 1e-6 * analytic[i].abs() + 1e-9 * scale;
        assert!(proven, "{name}[{i}]: {} analytic, {numeric} numeric", analytic[i]);
    }
}

#[test]
fn pointwise_oracles() {
    let (x, g) = (data(1, 30), data(2, 30));
    let gelu = |x: &[f64]| x.iter().map(|x| pointwise::gelu(*x)).collect();
    proves("gelu", &x, &g, gelu, &pointwise::gelu_backward(&x, &g));
    let g = &g[..15];
    proves("swiglu", &x, g, |x| pointwise::swiglu(x, 5), &pointwise::swiglu_backward(&x, g, 5));
    let drop = |x: &[f64]| pointwise::dropout(x, 0.4, 9);
    proves("dropout", &x, &data(2, 30), drop, &drop(&data(2, 30)));
    let dropped = pointwise::dropout(&data(3, 1000), 0.3, 77);
    let zeros = dropped.iter().filter(|x| **x == 0.0).count();
    assert!((250..350).contains(&zeros), "{zeros} of 1000 dropped at 0.3");
}

#[test]
fn lora_oracle() {
    let sizes = lora::Sizes { rows: 5, width: 6, features: 4, rank: 3 };
    let (x, w, a, b) = (data(50, 30), data(51, 24), data(52, 18), data(53, 12));
    let g = data(54, 20);
    let back = lora::backward(sizes, &x, &w, &a, &b, 0.7, &g);
    proves("lora x", &x, &g, |x| lora::forward(sizes, x, &w, &a, &b, 0.7), &back.x);
    proves("lora A", &a, &g, |a| lora::forward(sizes, &x, &w, a, &b, 0.7), &back.a);
    proves("lora B", &b, &g, |b| lora::forward(sizes, &x, &w, &a, b, 0.7), &back.b);
}

#[test]
fn norm_oracles() {
    let (x, w, b, g) = (data(4, 21), data(5, 7), data(6, 7), data(7, 21));
    for center in [true, false] {
        let back = norm::norm_backward(&x, &w, &g, center, 1e-3);
        let bias = center.then_some(&b[..]);
        proves("norm x", &x, &g, |x| norm::norm(x, &w, bias, center, 1e-3), &back.x);
        proves("norm weight", &w, &g, |w| norm::norm(&x, w, bias, center, 1e-3), &back.weight);
        proves("norm bias", &b, &g, |b| norm::norm(&x, &w, Some(b), center, 1e-3), &back.bias);
    }
    let y = norm::softmax(&x, 7);
    proves("softmax", &x, &g, |x| norm::softmax(x, 7), &norm::softmax_backward(&y, &g, 7));
}

#[test]
fn head_norm_oracle() {
    let shape = norm::HeadNorm { query: 3, key_value: 2, dim: 5, epsilon: 1e-3 };
    let (x, q, k, g) = (data(30, 2 * 7 * 5), data(31, 5), data(32, 5), data(33, 2 * 7 * 5));
    let (grad_x, [grad_q, grad_k]) = norm::head_norm_backward(shape, &x, [&q, &k], &g);
    proves("head norm x", &x, &g, |x| norm::head_norm(shape, x, [&q, &k]), &grad_x);
    proves("head norm of queries", &q, &g, |q| norm::head_norm(shape, &x, [q, &k]), &grad_q);
    proves("head norm of keys", &k, &g, |k| norm::head_norm(shape, &x, [&q, k]), &grad_k);
}

#[test]
fn loss_oracle() {
    let (logits, targets) = (data(8, 4 * 9), [3, loss::IGNORED, 8, 0]);
    let result = loss::cross_entropy(&logits, &targets);
    proves("cross entropy", &logits, &[1.0], |x| vec![loss::cross_entropy(x, &targets).mean], &result.grad_logits);
    // Finite differences do not reveal a factor that mean and gradient share; equal logits cost ln 9 in each scored row.
    let equal = loss::cross_entropy(&[0.7; 4 * 9], &targets);
    assert!((equal.mean - 9f64.ln()).abs() < 1e-12 && equal.rows[1] == 0.0, "{} {:?}", equal.mean, equal.rows);
    let none = loss::cross_entropy(&logits, &[loss::IGNORED; 4]);
    assert!(none.mean == 0.0 && none.grad_logits.iter().all(|g| *g == 0.0));
}

#[test]
fn position_oracles() {
    let (table, positions, ids) = (data(9, 5 * 3), data(10, 4 * 3), [4, 1, 1, 0, 4, 4, 2, 1]);
    let g = data(11, ids.len() * 3);
    let (grad_table, grad_positions) = position::embed_backward(&ids, &g, 3, 5, 4);
    proves("table", &table, &g, |t| position::embed(&ids, t, 3, Some(&positions), 4, 0), &grad_table);
    proves("positions", &positions, &g, |p| position::embed(&ids, &table, 3, Some(p), 4, 0), &grad_positions);
    let (x, g) = (data(12, 2 * 3 * 16), data(13, 2 * 3 * 16));
    let rotary = position::Rotary { heads: 4, rotated: 3, dim: 4, context: 3, past: 5, theta: 100.0 };
    let turn = |x: &[f64], direction| position::rope(rotary, x, direction);
    proves("rope", &x, &g, |x| turn(x, 1.0), &turn(&g, -1.0));
}

#[test]
fn attention_oracle() {
    for (heads, kv_heads) in [(2, 2), (4, 2), (3, 1)] {
        let sizes = attention::Sizes { batch: 2, context: 5, heads, kv_heads, dim: 4 };
        let x = data(14, 2 * 5 * sizes.row());
        let g = data(15, 2 * 5 * heads * 4);
        proves(
            "attention",
            &x,
            &g,
            |x| attention::attention(sizes, x).0,
            &attention::attention_backward(sizes, &x, &g),
        );
    }
}

/// Segments of one token, of several, and up to the end of a row.
#[test]
fn attention_oracle_with_segments() {
    let starts = [0, 0, 2, 3, 3, 0, 1, 1, 1, 4];
    let sizes = attention::Sizes { batch: 2, context: 5, heads: 4, kv_heads: 2, dim: 4 };
    let (x, g) = (data(34, 2 * 5 * sizes.row()), data(35, 2 * 5 * 16));
    let analytic = attention::attention_segments_backward(sizes, &x, &starts, &g);
    proves("segments", &x, &g, |x| attention::attention_segments(sizes, x, &starts).0, &analytic);
    // The first segment of a row does not depend on those that follow, nor they on it.
    let (whole, lse) = attention::attention_segments(sizes, &x, &starts);
    let alone = attention::Sizes { batch: 1, context: 2, ..sizes };
    let (out, alone_lse) = attention::attention(alone, &x[3 * sizes.row()..5 * sizes.row()]);
    assert_eq!(out, whole[3 * 16..5 * 16]);
    assert_eq!(alone_lse[..2], lse[3..5]);
}

/// `dA` and `dB` are products themselves: `G B^T` and `A^T G`, each transposed again if its
/// operand is stored transposed.
#[test]
fn matmul_oracle_gradients_are_products() {
    let (m, n, k, batch) = (3, 5, 7, 2);
    let (a, b, g) = (data(16, 42), data(17, 70), data(18, 30));
    let product = |m, n, k, trans_a, trans_b, a: &[f64], b: &[f64]| {
        matmul::matmul(matmul::Layout { m, n, k, batch, trans_a, trans_b }, a, b)
    };
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let grad_a = match trans_a {
            false => product(m, k, n, false, !trans_b, &g, &b),
            true => product(k, m, n, trans_b, true, &b, &g),
        };
        let grad_b = match trans_b {
            false => product(k, n, m, !trans_a, false, &a, &g),
            true => product(n, k, m, true, trans_a, &g, &a),
        };
        let name = format!("matmul trans_a {trans_a}, trans_b {trans_b}");
        proves(&format!("{name}: A"), &a, &g, |a| product(m, n, k, trans_a, trans_b, a, &b), &grad_a);
        proves(&format!("{name}: B"), &b, &g, |b| product(m, n, k, trans_a, trans_b, &a, b), &grad_b);
    }
}

/// The gradients of the sums, the bias, and of residual and previous values are GELU's gradient, its column sums, and
/// the output's gradient itself.
#[test]
fn epilogue_oracle() {
    let (x, bias, residual, before, g) = (data(19, 15), data(20, 5), data(21, 15), data(22, 15), data(23, 15));
    for gelu in [false, true] {
        let all = |x: &[f64], bias: &[f64], residual: &[f64], before: &[f64]| {
            matmul::epilogue(x, 5, Some(bias), gelu, Some(residual), Some(before)).0
        };
        let (_, plain) = matmul::epilogue(&x, 5, Some(&bias), gelu, None, None);
        let grad_x = if gelu { pointwise::gelu_backward(&plain, &g) } else { g.clone() };
        proves("epilogue sums", &x, &g, |x| all(x, &bias, &residual, &before), &grad_x);
        let grad_bias = pointwise::column_sum(&grad_x, 5, None);
        proves("epilogue bias", &bias, &g, |bias| all(&x, bias, &residual, &before), &grad_bias);
        proves("epilogue residual", &residual, &g, |residual| all(&x, &bias, residual, &before), &g);
        proves("epilogue before", &before, &g, |before| all(&x, &bias, &residual, before), &g);
    }
}

#[test]
fn adamw_moves_against_the_gradient() {
    let step = optimizer::Step { lr: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decay: 0.0, step: 1, max_norm: 1.0 };
    let (mut w, mut m, mut v) = (vec![1.0, -1.0], vec![0.0; 2], vec![0.0; 2]);
    optimizer::adamw(step, &mut w, &mut m, &mut v, &[3.0, -4.0], 5.0);
    // The first step of Adam has the length of the learning rate, whatever the size of the gradient.
    assert!((w[0] - 0.9).abs() < 1e-6 && (w[1] + 0.9).abs() < 1e-6, "{w:?}");
    assert!((m[0] - 0.1 * 3.0 / 5.0).abs() < 1e-6, "clipped to norm 1: {m:?}");
}

#[test]
fn adamw_clips_only_above_the_norm_and_decays_apart_from_the_gradient() {
    let step = optimizer::Step { lr: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decay: 0.5, step: 3, max_norm: 9.0 };
    let (mut w, mut m, mut v) = (vec![2.0, -4.0], vec![0.0; 2], vec![0.0; 2]);
    optimizer::adamw(step, &mut w, &mut m, &mut v, &[0.0; 2], 0.0);
    assert!(w[0] == 2.0 * 0.95 && w[1] == -4.0 * 0.95 && v == [0.0; 2], "decay alone: {w:?}");
    // Below the maximum norm nothing is clipped; then m = 0.3 and v = 0.09, with corrections 1 - 0.9^3 and 1 - 0.99^3.
    optimizer::adamw(step, &mut w, &mut m, &mut v, &[3.0, -3.0], 5.0);
    let expected = 2.0 * 0.95 * 0.95 - 0.1 * (0.3 / 0.271) / (0.09f64 / 0.029_701).sqrt();
    assert!((m[0] - 0.3).abs() < 1e-12 && (v[1] - 0.09).abs() < 1e-12, "{m:?} {v:?}");
    assert!((w[0] - expected).abs() < 1e-8, "{} is not {expected}", w[0]);
}
