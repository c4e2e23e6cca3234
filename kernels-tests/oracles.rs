//! Checks oracles that have no gradient against identities that they must satisfy. Uses no GPU.

use wgpt::{
    doctor::reference::{attention, cache, paged, pointwise, position},
    model::parameters,
};

use crate::support::{assert_close, data, to_f64};

fn assert_equal(name: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (i, (x, y)) in actual.iter().zip(expected).enumerate() {
        // This comparison is false for NaN, unlike its negation.
        let equal = (x - y).abs() <= 1e-12 * y.abs().max(1.0);
        assert!(equal, "{name}[{i}] is {x}, expected {y}");
    }
}

/// Rows `first..first + count` of every sequence.
fn rows(x: &[f64], batch: usize, context: usize, first: usize, count: usize) -> Vec<f64> {
    let width = x.len() / (batch * context);
    (0..batch).flat_map(|z| x[(z * context + first) * width..][..count * width].to_vec()).collect()
}

#[test]
fn decoding_in_any_chunks_equals_causal_attention() {
    for (heads, kv_heads) in [(2, 2), (6, 2), (3, 1)] {
        let whole = attention::Sizes { batch: 2, context: 7, heads, kv_heads, dim: 5 };
        let qkv = to_f64(&data(30, 2 * 7 * whole.row()));
        let (expected, _) = attention::attention(whole, &qkv);
        for chunks in [&[7][..], &[4, 1, 2], &[1, 1, 1, 1, 1, 1, 1]] {
            // NaN in every free position, so that reading too far shows.
            let free = vec![f64::NAN; 2 * kv_heads * 9 * 5];
            let mut cache = cache::Cache { capacity: 9, keys: free.clone(), values: free };
            let mut past = 0;
            for &context in chunks {
                let s = attention::Sizes { context, ..whole };
                let new = rows(&qkv, 2, 7, past, context);
                cache::append(s, &new, &mut cache, past);
                let name = format!("{heads}/{kv_heads} heads, {context} past {past}");
                assert_equal(&name, &cache::decode(s, &new, &cache, past), &rows(&expected, 2, 7, past, context));
                past += context;
            }
        }
    }
}

#[test]
fn page_order_changes_nothing_and_probabilities_mix_the_values() {
    let whole = attention::Sizes { batch: 1, context: 11, heads: 4, kv_heads: 2, dim: 3 };
    let qkv = to_f64(&data(32, 11 * whole.row()));
    let (expected, _) = attention::attention(whole, &qkv);
    let free = vec![f64::NAN; 5 * 2 * 4 * 3];
    let mut pool = paged::Pool { page: 4, keys: free.clone(), values: free };
    let mut first = 0;
    for context in [6, 1, 4] {
        let s = attention::Sizes { context, ..whole };
        let new = &qkv[first * whole.row()..][..context * whole.row()];
        paged::append(s, new, &mut pool, &[3, 0, 4], first);
        let out = paged::attend(s, new, &pool, &[3, 0, 4], first);
        assert_equal("pages", &out, &expected[first * 12..][..context * 12]);
        first += context;
    }
    let map = attention::probabilities(whole, &qkv);
    for (head, row) in map.chunks_exact(11).enumerate().map(|(at, row)| (at / 11, row)) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "head {head}");
    }
    for t in 0..11 {
        for (at, mixed) in expected[t * 12..][..12].iter().enumerate() {
            let (head, column) = (at / 3, at % 3);
            // Values follow four query heads and two key heads; two query heads share one value head.
            let value = |j: usize| qkv[j * whole.row() + (6 + head / 2) * 3 + column];
            let sum: f64 = (0..11).map(|j| map[(head * 11 + t) * 11 + j] * value(j)).sum();
            assert!((sum - mixed).abs() < 1e-12, "token {t} head {head}");
        }
    }
}

#[test]
fn sinusoids_rotate_by_their_frequency_and_the_model_uses_them() {
    for (context, width) in [(9, 6), (5, 7), (1, 1)] {
        let table = position::sinusoidal(context, width);
        for (i, pair) in table[..width].chunks(2).enumerate() {
            assert_equal("position 0", pair, &[0.0, 1.0][..pair.len()]);
            let (sine, cosine) = 10_000f64.powf(-2.0 * i as f64 / width as f64).sin_cos();
            for at in (0..context.saturating_sub(1)).filter(|_| pair.len() == 2) {
                let now = &table[at * width + 2 * i..][..2];
                let turned = [now[0] * cosine + now[1] * sine, now[1] * cosine - now[0] * sine];
                assert_equal("next position", &table[(at + 1) * width + 2 * i..][..2], &turned);
            }
        }
        assert_close("sinusoidal", &parameters::sinusoidal(context, width), &table, 1e-7, 1e-6);
    }
}

#[test]
fn sums_agree() {
    let x = to_f64(&data(31, 37));
    let blocks = pointwise::square_sums(&x, 8);
    assert_eq!(blocks.len(), 5);
    let total = pointwise::sum(&blocks, 5, 0, 1, 1.0);
    assert_equal("norm", &[total.sqrt()], &[pointwise::norm(&x)]);
    // Every column of a table by strided sums, and all of them by column_sum.
    let strided: Vec<f64> = (0..4).map(|c| pointwise::sum(&x, 9, c, 4, -0.5)).collect();
    let columns = pointwise::scale(&pointwise::column_sum(&x[..36], 4, None), -0.5, None);
    assert_equal("columns", &strided, &columns);
}
