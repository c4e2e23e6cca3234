//! Attention of new tokens over a cache of keys and values.

use super::attention::Sizes;

/// The keys and values of one layer, each `[batch, kv_heads, capacity, dim]`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Number of positions that fit.
    pub capacity: usize,
    /// Keys.
    pub keys: Vec<f64>,
    /// Values.
    pub values: Vec<f64>,
}

impl Cache {
    /// The row of a position.
    fn at(&self, s: Sizes, z: usize, kv: usize, position: usize) -> std::ops::Range<usize> {
        let start = ((z * s.kv_heads + kv) * self.capacity + position) * s.dim;
        start..start + s.dim
    }
}

/// Copies the keys and values of the `s.context` new tokens in qkv to the positions from `past` on.
pub fn append(s: Sizes, qkv: &[f64], cache: &mut Cache, past: usize) {
    for z in 0..s.batch {
        for t in 0..s.context {
            for kv in 0..s.kv_heads {
                let target = cache.at(s, z, kv, past + t);
                cache.keys[target.clone()].copy_from_slice(&qkv[s.at(z, t, s.heads + kv)]);
                cache.values[target].copy_from_slice(&qkv[s.at(z, t, s.heads + s.kv_heads + kv)]);
            }
        }
    }
}

/// `out [batch, context, heads * dim]` of `s.context` new queries over a cache that already holds their keys and values.
/// Query t is at position `past + t` and sees the positions up to its own.
pub fn decode(s: Sizes, qkv: &[f64], cache: &Cache, past: usize) -> Vec<f64> {
    let scale = 1.0 / (s.dim as f64).sqrt();
    let mut out = vec![0.0; s.batch * s.context * s.heads * s.dim];
    for z in 0..s.batch {
        for t in 0..s.context {
            for head in 0..s.heads {
                let kv = head / (s.heads / s.kv_heads);
                let query = &qkv[s.at(z, t, head)];
                let score = |position: usize| {
                    let key = &cache.keys[cache.at(s, z, kv, position)];
                    scale * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>()
                };
                let scores: Vec<f64> = (0..=past + t).map(score).collect();
                let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|x| (x - greatest).exp()).sum();
                let row = &mut out[((z * s.context + t) * s.heads + head) * s.dim..][..s.dim];
                for (position, score) in scores.iter().enumerate() {
                    let weight = (score - greatest).exp() / total;
                    let value = &cache.values[cache.at(s, z, kv, position)];
                    row.iter_mut().zip(value).for_each(|(o, v)| *o += weight * v);
                }
            }
        }
    }
    out
}
