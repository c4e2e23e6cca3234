//! Attention of new tokens of one text over its pages in a shared pool.

use super::attention::Sizes;

/// The keys and values of one layer, each `[pages, kv_heads, page, dim]`.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Tokens per page.
    pub page: usize,
    /// Keys.
    pub keys: Vec<f64>,
    /// Values.
    pub values: Vec<f64>,
}

impl Pool {
    /// The row of a position in the text whose pages are `table`.
    fn at(&self, s: Sizes, table: &[u32], kv: usize, position: usize) -> std::ops::Range<usize> {
        let page = table[position / self.page] as usize;
        let start = ((page * s.kv_heads + kv) * self.page + position % self.page) * s.dim;
        start..start + s.dim
    }
}

/// Copies the keys and values of the `s.context` tokens in qkv, at positions `first..`, into the text's pages.
pub fn append(s: Sizes, qkv: &[f64], pool: &mut Pool, table: &[u32], first: usize) {
    for t in 0..s.context {
        for kv in 0..s.kv_heads {
            let target = pool.at(s, table, kv, first + t);
            pool.keys[target.clone()].copy_from_slice(&qkv[s.at(0, t, s.heads + kv)]);
            pool.values[target].copy_from_slice(&qkv[s.at(0, t, s.heads + s.kv_heads + kv)]);
        }
    }
}

/// `out [context, heads * dim]` of `s.context` queries over pages that hold their keys and values. Query t is at
/// position `first + t` and sees the positions up to its own.
pub fn attend(s: Sizes, qkv: &[f64], pool: &Pool, table: &[u32], first: usize) -> Vec<f64> {
    let scale = 1.0 / (s.dim as f64).sqrt();
    let mut out = vec![0.0; s.context * s.heads * s.dim];
    for t in 0..s.context {
        for head in 0..s.heads {
            let kv = head / (s.heads / s.kv_heads);
            let query = &qkv[s.at(0, t, head)];
            let score = |position: usize| {
                let key = &pool.keys[pool.at(s, table, kv, position)];
                scale * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>()
            };
            let scores: Vec<f64> = (0..=first + t).map(score).collect();
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|x| (x - greatest).exp()).sum();
            let row = &mut out[(t * s.heads + head) * s.dim..][..s.dim];
            for (position, score) in scores.iter().enumerate() {
                let weight = (score - greatest).exp() / total;
                let value = &pool.values[pool.at(s, table, kv, position)];
                row.iter_mut().zip(value).for_each(|(o, v)| *o += weight * v);
            }
        }
    }
    out
}
