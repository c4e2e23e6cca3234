//! What is compiled: the variants of an adapter as SPIR-V, and what is known of each.

use std::collections::HashSet;

use wgpt::{
    doctor::{chosen::chosen, variants::variants},
    gpu::{
        Form, Gpu, Variant,
        translate::{Language, Shader},
    },
};

use crate::bound::Stream;

/// A variant, ready for a compiler.
pub(crate) struct Item {
    /// The variant.
    pub(crate) variant: Variant,
    /// Whether a shape would get it without the tuner.
    pub(crate) chosen: bool,
    /// SPIR-V.
    pub(crate) words: Vec<u32>,
    /// The numbers of its storage buffers.
    pub(crate) bindings: Vec<u32>,
    /// Bytes of its immediates.
    pub(crate) immediate_bytes: u32,
    /// Bytes of workgroup memory.
    pub(crate) workgroup_bytes: u32,
    /// Invocations per workgroup.
    pub(crate) invocations: u32,
}

/// The variants that the opened adapter could choose, of those whose name contains `only`. Unless `all`, of those that
/// no shape gets without the tuner only the plain ones are taken: everything in f32 and nothing fused.
///
/// # Errors
/// naga's messages.
pub(crate) async fn items(gpu: &Gpu, only: &[String], all: bool) -> Result<Vec<Item>, String> {
    let capabilities = gpu.capabilities().clone();
    let found = variants(gpu, capabilities.clone()).await.map_err(|error| error.to_string())?;
    let chosen = chosen(gpu, capabilities.clone()).await.map_err(|error| error.to_string())?;
    let chosen: HashSet<_> = chosen.into_iter().collect();
    let form = Form { subgroup_line: false, ..Form::of(&capabilities) };
    let mut items = Vec::new();
    // What is chosen is among what can be, but for head widths that the checks leave out.
    let more: Vec<_> = chosen.iter().filter(|variant| !found.contains(variant)).cloned().collect();
    for variant in found.into_iter().chain(more) {
        let (name, is_chosen) = (variant.to_string(), chosen.contains(&variant));
        let wanted = only.is_empty() || only.iter().any(|text| name.contains(text.as_str()));
        if !wanted || !(all || is_chosen || plain(&variant)) {
            continue;
        }
        let text = variant.text(form).map_err(|error| error.to_string())?;
        let shader = Shader::new(&text).map_err(|error| format!("{name}: {error}"))?;
        let bytes = shader.translate(Language::SpirV, false).map_err(|error| format!("{name}: {error}"))?;
        let words = bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        items.push(Item {
            chosen: is_chosen,
            words: words.collect(),
            bindings: shader.interface.bindings.iter().map(|binding| binding.index).collect(),
            immediate_bytes: shader.interface.params_bytes,
            workgroup_bytes: shader.workgroup_bytes(),
            invocations: shader.interface.workgroup.iter().product(),
            variant,
        });
    }
    items.sort_by_cached_key(|item| item.variant.to_string());
    Ok(items)
}

/// Whether a variant stores everything in f32 (weights that are packed, as they are packed) and fuses nothing.
fn plain(variant: &Variant) -> bool {
    let structure = ["TRANS_A", "TRANS_B"];
    variant.constants.iter().all(|(name, value)| {
        let value = value.to_string();
        (value != "true" || structure.contains(name)) && !(value.contains("f16>") || value == "f16")
    })
}

/// The bytes of global memory per multiply-add that a kernel reads and no cache has.
pub(crate) fn stream(variant: &Variant) -> Stream {
    let constant = |name: &str| variant.constants.iter().find(|(other, _)| *other == name).map(|(_, value)| value);
    let number = |name: &str, default: f64| {
        let text = constant(name).map(|value| value.to_string().trim_end_matches('u').parse::<f64>());
        text.and_then(Result::ok).unwrap_or(default)
    };
    let file = |name: &str| constant(name).map(ToString::to_string).unwrap_or_default();
    match variant.kernel.name {
        // A weight serves M rows.
        "packed_lanes" | "packed_columns" => {
            let format = file("format");
            let bits = [
                ("weights_f32", 32.0),
                ("weights_f16", 16.0),
                ("weights_bf16", 16.0),
                ("weights_q8", 8.5),
                ("weights_q6_k", 6.5625),
                ("weights_q5_k", 5.5),
                ("weights_q5", 6.0),
                ("weights_q4_k", 4.5),
            ];
            let bits = bits.iter().find(|(name, _)| format.contains(name)).map_or(5.0, |(_, bits)| *bits);
            Some(bits / 8.0 / number("M", 1.0))
        }
        "matmul_vector" => {
            let bytes = if file("b_element").contains("f16") { 2.0 } else { 4.0 };
            Some(bytes / number("M", 1.0))
        }
        // A number of the cache serves all rows that share it.
        "attention_decode" | "attention_paged" => {
            let bytes = if file("cache").contains("f16") { 2.0 } else { 4.0 };
            Some(bytes / (number("GROUP", 1.0) * number("QUERIES", 1.0)))
        }
        _ => None,
    }
}
