//! Converts transformers' config.json to a configuration and back.
//!
//! A setting that changes what a model computes and that wgpt does not support is refused by name and value.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    Error, Result,
    interchange::{TextCodec, family::Family},
    model::{Config, config::RopeScaling},
};

const KNOWN: &str = "GPT2LMHeadModel, LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM";

/// An object of a JSON file, and errors that name its fields.
struct Fields<'a> {
    /// The file's path, for error messages.
    path: &'a Path,
    /// The prefix of field names in error messages, such as `rope_parameters.`.
    prefix: &'static str,
    /// The object.
    value: &'a Value,
}

impl<'a> Fields<'a> {
    /// An error about a field with an unsupported value.
    fn refuse(&self, name: &str, computes: &str) -> Error {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        Error::checkpoint(self.path, format!("{}{name} is {value}; wgpt computes {computes}", self.prefix))
    }

    /// A field; [`None`] if it is absent or null.
    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.value.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        let wrong = |error| Error::checkpoint(self.path, format!("{}{name} is {value}: {error}", self.prefix));
        serde_json::from_value(value.clone()).map(Some).map_err(wrong)
    }

    /// A required field.
    fn require<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let missing = || Error::checkpoint(self.path, format!("{}{name} is missing", self.prefix));
        self.get(name)?.ok_or_else(missing)
    }

    /// Refuses a field that is present and not null, unless `fine`.
    fn only(&self, name: &str, fine: impl Fn(&Value) -> bool, computes: &str) -> Result<()> {
        match self.value.get(name) {
            Some(value) if !value.is_null() && !fine(value) => Err(self.refuse(name, computes)),
            _ => Ok(()),
        }
    }

    /// A nested object.
    fn object(&self, name: &str, prefix: &'static str) -> Result<Option<Fields<'a>>> {
        match self.value.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(Fields { path: self.path, prefix, value })),
            Some(_) => Err(self.refuse(name, "an object there")),
        }
    }
}

/// Whether this is transformers' config.json; wgpt's own has neither field.
pub fn is_foreign(value: &Value) -> bool {
    value.get("architectures").is_some() || value.get("model_type").is_some()
}

/// The configuration in a config.json; `path` is used in error messages only.
///
/// # Errors
/// [`Error::Checkpoint`] naming the field that wgpt does not support.
pub fn read(path: &Path, value: &Value) -> Result<(Family, Config)> {
    let fields = Fields { path, prefix: "", value };
    let off = |value: &Value| *value == Value::Bool(false);
    fields.only("quantization_config", |_| false, "plain safetensors; for quantised weights give a GGUF file")?;
    fields.only("add_cross_attention", off, "decoders without cross attention")?;
    let (family, mistral) = architecture(&fields)?;
    let config = if family == Family::Gpt2 { gpt2(&fields)? } else { llama(&fields, family, mistral)? };
    config.validate().map_err(|error| Error::checkpoint(path, error.to_string()))?;
    Ok((family, config))
}

/// The family, and whether the model is a Mistral.
fn architecture(fields: &Fields<'_>) -> Result<(Family, bool)> {
    let (field, name) = match fields.get::<Vec<String>>("architectures")?.and_then(|names| names.into_iter().next()) {
        Some(name) => ("architectures", name),
        None => ("model_type", fields.require("model_type")?),
    };
    Ok(match name.as_str() {
        "GPT2LMHeadModel" | "gpt2" => (Family::Gpt2, false),
        "LlamaForCausalLM" | "llama" => (Family::Llama, false),
        "MistralForCausalLM" | "mistral" => (Family::Llama, true),
        "Qwen2ForCausalLM" | "qwen2" => (Family::Qwen2, false),
        "Qwen3ForCausalLM" | "qwen3" => (Family::Qwen3, false),
        _ => return Err(fields.refuse(field, KNOWN)),
    })
}

fn gpt2(fields: &Fields<'_>) -> Result<Config> {
    let gelu = |value: &Value| matches!(value.as_str(), Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast"));
    fields.only("activation_function", gelu, "GELU by tanh (gelu_new, gelu_pytorch_tanh)")?;
    fields.only("scale_attn_weights", |value| *value == json!(true), "scaled attention (true)")?;
    fields.only("scale_attn_by_inverse_layer_idx", |value| *value == json!(false), "the same scale in every layer")?;
    let context = match fields.get("n_positions")? {
        Some(context) => context,
        None => fields.require("n_ctx")?,
    };
    let sizes = ["vocab_size", "n_layer", "n_head", "n_embd"].map(|name| fields.require::<usize>(name));
    let [vocabulary, layers, heads, width] = sizes;
    let config = Config::gpt2(vocabulary?, context, layers?, heads?, 0);
    let width = width?;
    let hidden = fields.get("n_inner")?.unwrap_or(width.saturating_mul(4));
    let norm_epsilon = fields.get("layer_norm_epsilon")?.unwrap_or(1e-5);
    let tied = fields.get("tie_word_embeddings")?.unwrap_or(true);
    Ok(Config { width, hidden, norm_epsilon, tied, ..config })
}

fn llama(fields: &Fields<'_>, family: Family, mistral: bool) -> Result<Config> {
    let silu = |value: &Value| matches!(value.as_str(), Some("silu" | "swish"));
    fields.only("hidden_act", silu, "SwiGLU (silu)")?;
    fields.only("use_sliding_window", |value| *value == json!(false), "full attention (false)")?;
    let full = |value: &Value| {
        value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind.as_str() == Some("full_attention")))
    };
    fields.only("layer_types", full, "full_attention in every layer")?;
    if mistral && fields.value.get("sliding_window") != Some(&Value::Null) {
        return Err(
            fields.refuse("sliding_window", "full attention (an explicit null here; Mistral's default is 4096)")
        );
    }
    fields.only("partial_rotary_factor", |value| value.as_f64() == Some(1.0), "rotation of whole heads (1)")?;

    let heads: usize = fields.require("num_attention_heads")?;
    let width: usize = fields.require("hidden_size")?;
    let kv_heads = match fields.get("num_key_value_heads")? {
        Some(heads) => heads,
        None if family == Family::Llama && !mistral => heads,
        None => return Err(Error::checkpoint(fields.path, "num_key_value_heads is missing")),
    };
    let head_dim = fields.get("head_dim")?.or((family == Family::Qwen3).then_some(128));
    let natural = (heads > 0 && width % heads == 0).then(|| width / heads);
    let (bias, rope) = (biases(fields, family)?, Rope::read(fields)?);
    Ok(Config {
        kv_heads,
        width,
        head_dim: head_dim.filter(|dim| natural != Some(*dim)),
        hidden: fields.require("intermediate_size")?,
        rope_theta: rope.theta,
        rope_scaling: rope.scaling,
        norm_epsilon: fields.get("rms_norm_eps")?.unwrap_or(1e-6),
        bias,
        qkv_bias: family == Family::Qwen2,
        qk_norm: family == Family::Qwen3,
        tied: fields.get("tie_word_embeddings")?.unwrap_or(false),
        ..Config::llama(
            fields.require("vocab_size")?,
            fields.require("max_position_embeddings")?,
            fields.require("num_hidden_layers")?,
            heads,
            0,
        )
    })
}

/// Llama has two switches for biases, wgpt has one; in the other families biases are fixed.
fn biases(fields: &Fields<'_>, family: Family) -> Result<bool> {
    let attention = fields.get::<bool>("attention_bias")?.unwrap_or(false);
    let mlp = fields.get::<bool>("mlp_bias")?.unwrap_or(false);
    match (attention, mlp) {
        (true, _) if family == Family::Qwen3 => Err(fields.refuse("attention_bias", "Qwen3 without biases (false)")),
        // Qwen2 has no such fields; it has biases on queries, keys and values only.
        _ if family == Family::Qwen2 => Ok(false),
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(fields.refuse("attention_bias", "biases in attention and mlp, or in neither")),
        (false, true) => Err(fields.refuse("mlp_bias", "biases in attention and mlp, or in neither")),
    }
}

struct Rope {
    theta: f64,
    scaling: Option<RopeScaling>,
}

impl Rope {
    /// Reads `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (earlier versions).
    fn read(fields: &Fields<'_>) -> Result<Self> {
        const COMPUTES: &str = "rotary angles as they are, linear and llama3";
        let theta = fields.get("rope_theta")?.unwrap_or(10_000.0);
        let new = fields.object("rope_parameters", "rope_parameters.")?;
        let rope = if new.is_some() { new } else { fields.object("rope_scaling", "rope_scaling.")? };
        let Some(rope) = rope else { return Ok(Self { theta, scaling: None }) };
        let kind_field = if rope.value.get("rope_type").is_some() { "rope_type" } else { "type" };
        let kind: String = rope.get(kind_field)?.unwrap_or_else(|| "default".into());
        let of_kind: &[&str] = match kind.as_str() {
            "default" => &[],
            "linear" => &["factor"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
            _ => return Err(rope.refuse(kind_field, COMPUTES)),
        };
        rope.only("partial_rotary_factor", |value| value.as_f64() == Some(1.0), "rotation of whole heads (1)")?;
        let common = ["rope_theta", "rope_type", "type", "partial_rotary_factor"];
        for name in rope.value.as_object().into_iter().flat_map(Map::keys) {
            if !common.contains(&name.as_str()) && !of_kind.contains(&name.as_str()) {
                rope.only(name, |_| false, COMPUTES)?;
            }
        }
        let scaling = match kind.as_str() {
            "linear" => Some(RopeScaling::Linear { factor: rope.require("factor")? }),
            "llama3" => Some(RopeScaling::Llama3 {
                factor: rope.require("factor")?,
                low_freq_factor: rope.require("low_freq_factor")?,
                high_freq_factor: rope.require("high_freq_factor")?,
                original_context: rope.require("original_max_position_embeddings")?,
            }),
            _ => None,
        };
        Ok(Self { theta: rope.get("rope_theta")?.unwrap_or(theta), scaling })
    }
}

/// The config.json of `config`, which belongs to `family`, with weights stored as `dtype` (such as "float32").
///
/// # Errors
/// [`Error::Config`] for anything that transformers has no field for.
pub fn write(family: Family, config: &Config, dtype: &str, codec: Option<&TextCodec>) -> Result<Value> {
    // Goes through the shortest decimal text of the f32, so that the f64 does not show the f32's rounding error.
    let epsilon: f64 = config.norm_epsilon.to_string().parse().unwrap_or(f64::from(config.norm_epsilon));
    let conventions = codec.map(|codec| &codec.conventions);
    let (class, kind) = match family {
        Family::Gpt2 => ("GPT2LMHeadModel", "gpt2"),
        Family::Llama => ("LlamaForCausalLM", "llama"),
        Family::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
        Family::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
    };
    let mut value = json!({
        "architectures": [class],
        "model_type": kind,
        // All versions read the older name.
        "torch_dtype": dtype,
        "vocab_size": config.vocabulary,
        "tie_word_embeddings": config.tied,
        "bos_token_id": conventions.and_then(|conventions| conventions.bos),
        "eos_token_id": conventions.and_then(|conventions| conventions.eos),
    });
    let rest = if family == Family::Gpt2 {
        json!({
            "n_positions": config.context,
            "n_embd": config.width,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_inner": config.hidden,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": epsilon,
        })
    } else {
        json!({
            "max_position_embeddings": config.context,
            "hidden_size": config.width,
            "intermediate_size": config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_dim(),
            "hidden_act": "silu",
            "rms_norm_eps": epsilon,
            "attention_bias": config.bias,
            "mlp_bias": config.bias,
            "rope_theta": config.rope_theta,
            "rope_scaling": rope_scaling(config)?,
        })
    };
    if let (Value::Object(all), Value::Object(rest)) = (&mut value, rest) {
        all.extend(rest);
    }
    Ok(value)
}

fn rope_scaling(config: &Config) -> Result<Value> {
    Ok(match &config.rope_scaling {
        None => Value::Null,
        Some(RopeScaling::Linear { factor }) => json!({"rope_type": "linear", "factor": factor}),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
        Some(RopeScaling::Factors(_)) => {
            let reason = "config.json of transformers has no field for rotary angles with a divisor each";
            return Err(Error::Config(reason.into()));
        }
    })
}
