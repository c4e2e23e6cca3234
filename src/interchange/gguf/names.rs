//! llama.cpp's names of parameters.

use super::super::{family::Family, layout::Dialect};

/// Divisors of the rotary frequencies, `[head width / 2]`.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

const TOP: &[(&str, &str)] =
    &[("embed", "token_embd"), ("position", "position_embd"), ("norm", "output_norm"), ("head", "output")];

const GPT2: Dialect = Dialect {
    top: TOP,
    block: "blk.",
    layers: &[
        ("norm1", &["attn_norm"]),
        ("attention.qkv", &["attn_qkv"]),
        ("attention.out", &["attn_output"]),
        ("norm2", &["ffn_norm"]),
        ("mlp.up", &["ffn_up"]),
        ("mlp.down", &["ffn_down"]),
    ],
    transposed: &[],
    interleaved: false,
};

const QWEN: Dialect = Dialect {
    layers: &[
        ("norm1", &["attn_norm"]),
        ("attention.qkv", &["attn_q", "attn_k", "attn_v"]),
        ("attention.q_norm", &["attn_q_norm"]),
        ("attention.k_norm", &["attn_k_norm"]),
        ("attention.out", &["attn_output"]),
        ("norm2", &["ffn_norm"]),
        ("mlp.up", &["ffn_gate", "ffn_up"]),
        ("mlp.down", &["ffn_down"]),
    ],
    ..GPT2
};

/// Only this architecture rotates adjacent rows as pairs.
const LLAMA: Dialect = Dialect { interleaved: true, ..QWEN };

/// The dialect of a family.
pub(super) fn dialect(family: Family) -> &'static Dialect {
    match family {
        Family::Gpt2 => &GPT2,
        Family::Llama => &LLAMA,
        Family::Qwen2 | Family::Qwen3 => &QWEN,
    }
}

/// The `general.architecture` of a family.
pub(super) fn architecture(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "gpt2",
        Family::Llama => "llama",
        Family::Qwen2 => "qwen2",
        Family::Qwen3 => "qwen3",
    }
}

/// The family with this `general.architecture`.
pub(super) fn family(architecture: &str) -> Option<Family> {
    [Family::Gpt2, Family::Llama, Family::Qwen2, Family::Qwen3]
        .into_iter()
        .find(|f| self::architecture(*f) == architecture)
}
