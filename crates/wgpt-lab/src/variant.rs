//! What is compiled: the variants of an adapter as SPIR-V, and what is known of each.

use std::{collections::HashSet, fs, path::Path};

use wgpt::{
    doctor::{chosen::chosen, variants::variants},
    gpu::{
        Form, Gpu, Variant, compose,
        translate::{Language, Shader},
    },
};

use crate::bound::Stream;

/// A variant, ready for a compiler.
pub(crate) struct Item {
    /// The kernel's name.
    pub(crate) kernel: String,
    /// The variant's name: the kernel's and its constants.
    pub(crate) name: String,
    /// What it streams, see [`Stream`].
    pub(crate) stream: Stream,
    /// What a turn of its outer loop does, see [`Phase`]; empty if the laboratory does not know.
    pub(crate) phases: Vec<Phase>,
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
        let constants = Constants(variant.constants.iter().map(|(name, value)| (*name, value.to_string())).collect());
        items.push(item(variant.kernel.name, name, is_chosen, &text, &constants)?);
    }
    items.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(items)
}

/// A kernel that is being worked on, from a file, with constants like `TILE_K=16u` replaced.
///
/// # Errors
/// When it cannot be read, and naga's messages.
pub(crate) fn draft(gpu: &Gpu, file: &Path, constants: &[String]) -> Result<Item, String> {
    let source = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let replacements: Option<Vec<_>> = constants
        .iter()
        .map(|constant| constant.split_once('=').map(|(name, value)| (name, value.to_string())))
        .collect();
    let replacements = replacements.ok_or("give constants as NAME=VALUE")?;
    let form = Form { subgroup_line: false, ..Form::of(gpu.capabilities()) };
    let text = compose::compose(&source, &replacements, form)?;
    let kernel = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = format!("{kernel} {}", constants.join(" "));
    item(&kernel, name, false, &text, &Constants(replacements))
}

fn item(kernel: &str, name: String, chosen: bool, text: &str, constants: &Constants<'_>) -> Result<Item, String> {
    let shader = Shader::new(text).map_err(|error| format!("{name}: {error}"))?;
    let bytes = shader.translate(Language::SpirV, false).map_err(|error| format!("{name}: {error}"))?;
    let invocations: u32 = shader.interface.workgroup.iter().product();
    Ok(Item {
        kernel: kernel.to_string(),
        stream: stream(kernel, constants),
        phases: phases(kernel, constants, invocations),
        name,
        chosen,
        words: words_of(&bytes),
        bindings: shader.interface.bindings.iter().map(|binding| binding.index).collect(),
        immediate_bytes: shader.interface.params_bytes,
        workgroup_bytes: shader.workgroup_bytes(),
        invocations,
    })
}

/// The words of SPIR-V, whose bytes are in little-endian order.
pub(crate) fn words_of(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// The replaced constants of a kernel.
struct Constants<'a>(Vec<(&'a str, String)>);

impl Constants<'_> {
    fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.text(name).trim_end_matches('u').parse().unwrap_or(default)
    }
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
fn stream(kernel: &str, constants: &Constants<'_>) -> Stream {
    let half = |name: &str| constants.text(name).contains("f16");
    match kernel {
        // A weight serves M rows.
        "packed_lanes" | "packed_columns" => {
            let format = constants.text("format");
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
            Some(bits / 8.0 / constants.number("M", 1.0))
        }
        "matmul_vector" => Some(if half("b_element") { 2.0 } else { 4.0 } / constants.number("M", 1.0)),
        // A number of the cache serves all rows that share it.
        "attention_decode" | "attention_paged" => {
            let rows = constants.number("GROUP", 1.0) * constants.number("QUERIES", 1.0);
            Some(if half("cache") { 2.0 } else { 4.0 } / rows)
        }
        _ => None,
    }
}

/// A loop in which a kernel multiplies and adds, once for every turn of its outer loop: over a tile of k, or over what is
/// staged of a block of attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Phase {
    /// A lane's multiply-adds in all its turns.
    pub(crate) multiply_adds: f64,
    /// How many of these are not spent on padding.
    pub(crate) needed: f64,
    /// Whether it multiplies weights of attention with rows, rather than rows with each other.
    pub(crate) results: bool,
    /// How often operands are loaded for it.
    pub(crate) stages: f64,
}

fn phases(kernel: &str, constants: &Constants<'_>, invocations: u32) -> Vec<Phase> {
    let of = |m: f64, n: f64, k: f64| {
        let [m, n, k] =
            [("TILE_M", m), ("TILE_N", n), ("TILE_K", k)].map(|(name, value)| constants.number(name, value));
        let multiply_adds = m * n * k / f64::from(invocations);
        vec![Phase { multiply_adds, needed: multiply_adds, results: false, stages: 1.0 }]
    };
    match kernel {
        "matmul_buffered" => of(128.0, 128.0, 16.0),
        "matmul_tiled" => of(64.0, 64.0, 16.0),
        "attention_block_forward" | "attention_block_backward_q" | "attention_block_backward_kv" => {
            let [rows, columns, depth, slice, head] =
                ["ROWS", "COLUMNS", "DEPTH", "SLICE", "D4"].map(|name| constants.number(name, 0.0));
            if [rows, columns, depth, slice, head].contains(&0.0) {
                return Vec::new(); // A draft that does not say.
            }
            let groups = f64::from(invocations) / (rows / 4.0);
            // All of a head's elements for a lane's scores, and all columns for its results.
            let needed = 16.0 * columns / groups * head;
            let scores = Phase { multiply_adds: needed, needed, results: false, stages: (head / depth).ceil() };
            let multiply_adds = 16.0 * (head / groups).ceil() * columns;
            let results = Phase { multiply_adds, needed, results: true, stages: (columns / slice).ceil() };
            match kernel {
                "attention_block_forward" => vec![scores, results],
                "attention_block_backward_q" => vec![scores, scores, results],
                _ => vec![scores, results, scores, results],
            }
        }
        _ => Vec::new(),
    }
}
