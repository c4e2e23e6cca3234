//! transformers' names of parameters.

use super::super::{family::Family, layout::Dialect};

/// GPT2LMHeadModel. Its linear layers are "Conv1D", stored as `[in, out]`.
const GPT2: Dialect = Dialect {
    top: &[
        ("embed", "transformer.wte"),
        ("position", "transformer.wpe"),
        ("norm", "transformer.ln_f"),
        ("head", "lm_head"),
    ],
    block: "transformer.h.",
    layers: &[
        ("norm1", &["ln_1"]),
        ("attention.qkv", &["attn.c_attn"]),
        ("attention.out", &["attn.c_proj"]),
        ("norm2", &["ln_2"]),
        ("mlp.up", &["mlp.c_fc"]),
        ("mlp.down", &["mlp.c_proj"]),
    ],
    transposed: &["attention.qkv", "attention.out", "mlp.up", "mlp.down"],
    interleaved: false,
};

/// LlamaForCausalLM and the models that adopted its names.
const LLAMA: Dialect = Dialect {
    top: &[("embed", "model.embed_tokens"), ("norm", "model.norm"), ("head", "lm_head")],
    block: "model.layers.",
    layers: &[
        ("norm1", &["input_layernorm"]),
        ("attention.qkv", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        ("attention.q_norm", &["self_attn.q_norm"]),
        ("attention.k_norm", &["self_attn.k_norm"]),
        ("attention.out", &["self_attn.o_proj"]),
        ("norm2", &["post_attention_layernorm"]),
        ("mlp.up", &["mlp.gate_proj", "mlp.up_proj"]),
        ("mlp.down", &["mlp.down_proj"]),
    ],
    transposed: &[],
    interleaved: false,
};

/// The dialect of a family.
pub(super) fn dialect(family: Family) -> &'static Dialect {
    if family == Family::Gpt2 { &GPT2 } else { &LLAMA }
}

/// Strips the prefix that models saved without their head do not have.
pub(super) fn without_prefix(name: &str) -> Option<&str> {
    name.strip_prefix("transformer.").or_else(|| name.strip_prefix("model."))
}
