//! The cases that are compared.

use std::{fmt, time::Duration};

use criterion::Throughput;
use wgpt::ops::roofline::MultiplyAdds;

/// Does the work `count` times, waits for it once, and returns how long that took.
pub type Work = Box<dyn FnMut(u64) -> Duration>;

/// A library, which runs the cases that it supports.
pub trait Peer {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// Whether it takes part in this case.
    fn does(&self, case: &Case) -> bool;
    /// Prepares a case that it supports: data is on the device, kernels are compiled and chosen.
    fn work(&self, case: &Case) -> Work;
}

/// One piece of work, in f32. "Both ways" means the forward and the backward pass together, as a framework records them.
#[derive(Clone, Copy, Debug)]
pub enum Case {
    /// The roofline for arithmetic: multiply-adds in registers.
    MultiplyAdds,
    /// The roofline for memory: a kernel that copies.
    Copy { length: usize },
    /// `[m, k] * [k, n]`.
    Matmul { m: usize, n: usize, k: usize },
    /// Causal attention, from q, k and v to the heads' outputs.
    Attention { batch: usize, context: usize, heads: usize, dim: usize, both_ways: bool },
    /// Layer normalisation of `[rows, width]` with weight and bias.
    LayerNorm { rows: usize, width: usize, both_ways: bool },
    /// Softmax of `[rows, width]`, both ways.
    Softmax { rows: usize, width: usize },
    /// Mean cross-entropy of `[rows, width]` logits, both ways.
    CrossEntropy { rows: usize, width: usize },
    /// Embedding of `rows` ids in a table `[vocabulary, width]`, both ways.
    Embedding { rows: usize, vocabulary: usize, width: usize },
    /// GELU, tanh form, both ways.
    Gelu { length: usize },
    /// Sum of two tensors.
    Add { length: usize },
    /// An AdamW update of one tensor.
    AdamW { length: usize },
    /// Forward, backward and AdamW of a GPT-2 with a vocabulary of 65 tokens.
    Step(Gpt),
}

/// Sizes of a model and its batch.
#[derive(Clone, Copy, Debug)]
pub struct Gpt {
    pub layers: usize,
    pub heads: usize,
    pub width: usize,
    pub context: usize,
    pub batch: usize,
}

/// The size of the models' vocabulary: the characters of Tiny Shakespeare.
pub const VOCABULARY: usize = 65;

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = |both| if both { "both ways" } else { "forward" };
        match *self {
            Self::MultiplyAdds => write!(formatter, "multiply-add"),
            Self::Copy { length } => write!(formatter, "copy kernel {} MiB", length >> 18),
            Self::Matmul { m, n, k } => write!(formatter, "matmul {m}x{n}x{k}"),
            Self::Attention { batch, context, heads, dim, both_ways } => {
                write!(formatter, "attention {batch}x{context} {heads}x{dim} {}", ways(both_ways))
            }
            Self::LayerNorm { rows, width, both_ways } => {
                write!(formatter, "layernorm {rows}x{width} {}", ways(both_ways))
            }
            Self::Softmax { rows, width } => write!(formatter, "softmax {rows}x{width} both ways"),
            Self::CrossEntropy { rows, width } => write!(formatter, "cross entropy {rows}x{width} both ways"),
            Self::Embedding { rows, vocabulary, width } => {
                write!(formatter, "embedding {rows} of {vocabulary}x{width} both ways")
            }
            Self::Gelu { length } => write!(formatter, "gelu {length} both ways"),
            Self::Add { length } => write!(formatter, "add {length}"),
            Self::AdamW { length } => write!(formatter, "adamw {length}"),
            Self::Step(Gpt { layers, width, context, batch, .. }) => {
                write!(formatter, "training step {layers}x{width} {batch}x{context}")
            }
        }
    }
}

impl Case {
    /// Whether it measures a roofline of the adapter instead of a library.
    pub fn is_roof(&self) -> bool {
        matches!(self, Self::MultiplyAdds | Self::Copy { .. })
    }

    /// Whether it is a whole training step.
    pub fn is_step(&self) -> bool {
        matches!(self, Self::Step(_))
    }

    /// FLOP or bytes of the case, if a roofline applies to it.
    pub fn throughput(&self) -> Option<Throughput> {
        match *self {
            Self::MultiplyAdds => Some(Throughput::Elements(MultiplyAdds::FLOP)),
            Self::Copy { length } => Some(Throughput::Bytes(8 * length as u64)),
            Self::Matmul { m, n, k } => Some(Throughput::Elements(2 * (m * n * k) as u64)),
            Self::Add { length } => Some(Throughput::Bytes(12 * length as u64)),
            Self::AdamW { length } => Some(Throughput::Bytes(28 * length as u64)),
            _ => None,
        }
    }
}

/// Every case, training steps first.
pub fn all() -> Vec<Case> {
    let mut cases = vec![
        Case::MultiplyAdds,
        Case::Copy { length: 16 << 20 },
        Case::Step(Gpt { layers: 4, heads: 4, width: 128, context: 64, batch: 12 }),
        Case::Step(Gpt { layers: 6, heads: 6, width: 384, context: 256, batch: 4 }),
    ];
    cases.extend([256, 512, 1024].map(|size| Case::Matmul { m: size, n: size, k: size }));
    cases.push(Case::Matmul { m: 1024, n: 1536, k: 384 });
    for (batch, context, heads, dim) in [(12, 64, 4, 32), (4, 256, 6, 64)] {
        cases.extend([false, true].map(|both_ways| Case::Attention { batch, context, heads, dim, both_ways }));
    }
    cases.extend([false, true].map(|both_ways| Case::LayerNorm { rows: 1024, width: 384, both_ways }));
    cases.extend([
        Case::Softmax { rows: 1024, width: 384 },
        Case::CrossEntropy { rows: 1024, width: 4096 },
        Case::Embedding { rows: 1024, vocabulary: 4096, width: 384 },
        Case::Gelu { length: 1 << 20 },
        Case::Add { length: 1 << 20 },
        Case::AdamW { length: 1 << 20 },
    ]);
    cases
}

/// Ids below `most`.
pub fn ids(count: usize, most: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + 13) % most) as u32).collect()
}
