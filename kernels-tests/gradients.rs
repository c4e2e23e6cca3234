//! Central finite differences prove the backward oracles. No GPU here.

use wgpt::doctor::reference::{attention, loss, matmul, norm, optimizer, pointwise, position};

use crate::support::data;

/// `analytic` is the gradient of `sum(weights * f(x))`: checked element by element against central differences.
fn proves(name: &str, x: &[f64], weights: &[f64], f: impl Fn(&[f64]) -> Vec<f64>, analytic: &[f64]) {
    let value = |x: &[f64]| f(x).iter().zip(weights).map(|(y, w)| y * w).sum::<f64>();
    let scale = analytic.iter().fold(0.0f64, |most, g| most.max(g.abs()));
    assert!(scale > 1e-3 && analytic.len() == x.len(), "{name}: the gradient is too small to prove anything");
    for i in 0..x.len() {
        let mut moved = x.to_vec();
        let step = 1e-5;
        moved[i] = x[i] + step;
        let up = value(&moved);
        moved[i] = x[i] - step;
        let numeric = (up - value(&moved)) / (2.0 * step);
        let error = (numeric - analytic[i]).abs();
        assert!(error <= 1e-6 * scale.max(1.0), "{name}[{i}]: {} analytic, {numeric} numeric", analytic[i]);
    }
}

#[test]
fn pointwise_oracles() {
    let (x, g) = (data(1, 30), data(2, 30));
    let gelu = |x: &[f64]| x.iter().map(|x| pointwise::gelu(*x)).collect();
    proves("gelu", &x, &g, gelu, &pointwise::gelu_backward(&x, &g));
    let g = &g[..15];
    proves("swiglu", &x, g, |x| pointwise::swiglu(x, 5), &pointwise::swiglu_backward(&x, g, 5));
    let dropped = pointwise::dropout(&data(3, 1000), 0.3, 77);
    let zeros = dropped.iter().filter(|x| **x == 0.0).count();
    assert!((250..350).contains(&zeros), "{zeros} of 1000 dropped at 0.3");
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
fn loss_oracle() {
    let (logits, targets) = (data(8, 4 * 9), [3, loss::IGNORED, 8, 0]);
    let result = loss::cross_entropy(&logits, &targets);
    proves("cross entropy", &logits, &[1.0], |x| vec![loss::cross_entropy(x, &targets).mean], &result.grad_logits);
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
    let turn = |x: &[f64], direction| position::rope(x, 4, 3, 4, 3, 5, 100.0, direction);
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

#[test]
fn matmul_oracle_gradients_are_products() {
    let layout = matmul::Layout { m: 3, n: 5, k: 7, batch: 2, trans_a: false, trans_b: true };
    let (a, b, g) = (data(16, 42), data(17, 70), data(18, 30));
    // dA = G . B and dB = G^T . A, for B stored as [n, k].
    let grad_a = matmul::matmul(matmul::Layout { n: 7, k: 5, trans_b: false, ..layout }, &g, &b);
    let grad_b = matmul::matmul(matmul::Layout { m: 5, n: 7, k: 3, trans_a: true, trans_b: false, batch: 2 }, &g, &a);
    proves("matmul A", &a, &g, |a| matmul::matmul(layout, a, &b), &grad_a);
    proves("matmul B", &b, &g, |b| matmul::matmul(layout, &a, b), &grad_b);
}

#[test]
fn adamw_moves_against_the_gradient() {
    let step = optimizer::Step { lr: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, decay: 0.0, step: 1, max_norm: 1.0 };
    let (mut w, mut m, mut v) = (vec![1.0, -1.0], vec![0.0; 2], vec![0.0; 2]);
    optimizer::adamw(step, &mut w, &mut m, &mut v, &[3.0, -4.0], 5.0);
    // The first step of Adam has the learning rate's length whatever the gradient's.
    assert!((w[0] - 0.9).abs() < 1e-6 && (w[1] + 0.9).abs() < 1e-6, "{w:?}");
    assert!((m[0] - 0.1 * 3.0 / 5.0).abs() < 1e-6, "clipped to norm 1: {m:?}");
}
