//! Causal attention over a fused qkv, with grouped-query heads.

/// The sizes of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub context: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub dim: usize,
}

impl Sizes {
    /// Elements per row of qkv.
    pub fn row(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.dim
    }

    /// The elements of a head in row t of sequence z; heads are queries, then keys, then values.
    pub(super) fn at(&self, z: usize, t: usize, head: usize) -> std::ops::Range<usize> {
        let start = (z * self.context + t) * self.row() + head * self.dim;
        start..start + self.dim
    }

    /// The index of the head from which query head `head` reads its keys.
    pub(super) fn key(&self, head: usize) -> usize {
        self.heads + head / (self.heads / self.kv_heads)
    }

    /// The index of the head from which query head `head` reads its values.
    pub(super) fn value(&self, head: usize) -> usize {
        self.key(head) + self.kv_heads
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The weights of the query at `t` over the keys `start..=t`, and the log-sum-exp of the scores.
fn weights(s: Sizes, qkv: &[f64], z: usize, start: usize, t: usize, head: usize) -> (Vec<f64>, f64) {
    let scale = 1.0 / (s.dim as f64).sqrt();
    let score = |j: usize| scale * dot(&qkv[s.at(z, t, head)], &qkv[s.at(z, j, s.key(head))]);
    let scores: Vec<f64> = (start..=t).map(score).collect();
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = greatest + scores.iter().map(|x| (x - greatest).exp()).sum::<f64>().ln();
    (scores.iter().map(|x| (x - lse).exp()).collect(), lse)
}

/// `out [batch, context, heads * dim]` and the log-sum-exp `[batch, heads, context]`.
pub fn attention(s: Sizes, qkv: &[f64]) -> (Vec<f64>, Vec<f64>) {
    attention_segments(s, qkv, &vec![0; s.batch * s.context])
}

/// [`attention`] in which the query at `t` sees the keys `starts[t]..=t` of its row; starts are `[batch, context]`.
pub fn attention_segments(s: Sizes, qkv: &[f64], starts: &[u32]) -> (Vec<f64>, Vec<f64>) {
    let mut out = vec![0.0; s.batch * s.context * s.heads * s.dim];
    let mut lse = vec![0.0; s.batch * s.heads * s.context];
    for z in 0..s.batch {
        for head in 0..s.heads {
            for t in 0..s.context {
                let start = starts[z * s.context + t] as usize;
                let (w, sum) = weights(s, qkv, z, start, t, head);
                lse[(z * s.heads + head) * s.context + t] = sum;
                let row = &mut out[((z * s.context + t) * s.heads + head) * s.dim..][..s.dim];
                for (j, w) in w.iter().enumerate() {
                    let value = &qkv[s.at(z, start + j, s.value(head))];
                    row.iter_mut().zip(value).for_each(|(o, v)| *o += w * v);
                }
            }
        }
    }
    (out, lse)
}

/// The gradient of qkv.
pub fn attention_backward(s: Sizes, qkv: &[f64], grad_out: &[f64]) -> Vec<f64> {
    attention_segments_backward(s, qkv, &vec![0; s.batch * s.context], grad_out)
}

/// The gradient of qkv in [`attention_segments`].
pub fn attention_segments_backward(s: Sizes, qkv: &[f64], starts: &[u32], grad_out: &[f64]) -> Vec<f64> {
    let scale = 1.0 / (s.dim as f64).sqrt();
    let mut grad = vec![0.0; qkv.len()];
    for z in 0..s.batch {
        for head in 0..s.heads {
            for t in 0..s.context {
                let start = starts[z * s.context + t] as usize;
                let (w, _) = weights(s, qkv, z, start, t, head);
                let g = &grad_out[((z * s.context + t) * s.heads + head) * s.dim..][..s.dim];
                let rises: Vec<f64> = (start..=t).map(|j| dot(g, &qkv[s.at(z, j, s.value(head))])).collect();
                let mean = dot(&w, &rises);
                for j in start..=t {
                    let (weight, rise) = (w[j - start], rises[j - start]);
                    let slope = weight * (rise - mean) * scale;
                    for c in 0..s.dim {
                        let (q, k) = (s.at(z, t, head).start + c, s.at(z, j, s.key(head)).start + c);
                        grad[q] += slope * qkv[k];
                        grad[k] += slope * qkv[q];
                        grad[s.at(z, j, s.value(head)).start + c] += weight * g[c];
                    }
                }
            }
        }
    }
    grad
}

/// The attention probabilities of one text: `[heads, context, context]`, 0 for later tokens.
pub fn probabilities(s: Sizes, qkv: &[f64]) -> Vec<f64> {
    let mut map = vec![0.0; s.heads * s.context * s.context];
    for head in 0..s.heads {
        for t in 0..s.context {
            let (w, _) = weights(s, qkv, 0, 0, t, head);
            map[(head * s.context + t) * s.context..][..=t].copy_from_slice(&w);
        }
    }
    map
}
