//! Converts the metadata of a GGUF file to a configuration and back. Settings that wgpt does not compute are refused by
//! key and value.

use super::names::{self, ROPE_FACTORS};
use crate::{
    Error, Result,
    formats::gguf::{FromValue, GgufFile, Value},
    interchange::family::Family,
    model::{Config, config::RopeScaling},
};

/// Settings that other models under these architectures use to change the computation, with the values that do not
/// change it.
const FOREIGN: &[(&str, f64)] = &[
    ("expert_count", 0.0),
    ("attention.sliding_window", 0.0),
    ("attention.scale", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.q_lora_rank", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("embedding_scale", 1.0),
    ("rope.scaling.attn_factor", 1.0),
];

/// Metadata entries in file order.
pub(super) type Entries = Vec<(String, Value)>;

/// The metadata of one architecture, whose name is the prefix of each key.
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn get<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>> {
        self.file.metadata().get(&format!("{}.{key}", self.architecture))
    }

    fn require<T: FromValue<'a>>(&self, key: &str) -> Result<T> {
        self.file.metadata().require(&format!("{}.{key}", self.architecture))
    }

    fn refuse(&self, key: &str, value: impl std::fmt::Display, computes: &str) -> Error {
        let reason = format!("metadata '{}.{key}' is {value}; wgpt computes {computes}", self.architecture);
        Error::checkpoint(self.file.path(), reason)
    }

    fn foreign(&self) -> Result<()> {
        for (key, harmless) in FOREIGN {
            let value = match self.file.metadata().value(&format!("{}.{key}", self.architecture)) {
                None => continue,
                Some(Value::F32(value)) => f64::from(*value),
                Some(Value::F64(value)) => *value,
                Some(value) => value.as_integer().map_or(f64::NAN, |value| value as f64),
            };
            if value != *harmless {
                return Err(self.refuse(key, value, &format!("{harmless} there")));
            }
        }
        if self.get::<bool>("attention.causal")? == Some(false) {
            return Err(self.refuse("attention.causal", false, "causal attention"));
        }
        Ok(())
    }
}

/// The configuration in a file.
///
/// # Errors
/// [`Error::Checkpoint`] naming the key that wgpt does not support.
pub(super) fn read(file: &GgufFile) -> Result<(Family, Config)> {
    let architecture: &str = file.metadata().require("general.architecture")?;
    let Some(family) = names::family(architecture) else {
        let reason = format!("general.architecture is '{architecture}'; wgpt computes gpt2, llama, qwen2 and qwen3");
        return Err(Error::checkpoint(file.path(), reason));
    };
    let keys = Keys { file, architecture };
    keys.foreign()?;
    let vocabulary = file.shape("token_embd.weight")?.first().copied();
    let vocabulary =
        vocabulary.ok_or_else(|| Error::checkpoint(file.path(), "'token_embd.weight' has no dimensions"))?;
    let context: usize = keys.require("context_length")?;
    let layers: usize = keys.require("block_count")?;
    let heads: usize = keys.require("attention.head_count")?;
    let width: usize = keys.require("embedding_length")?;
    let hidden: usize = keys.require("feed_forward_length")?;
    let tied = !file.contains("output.weight");
    let config = if family == Family::Gpt2 {
        let norm_epsilon = keys.require("attention.layer_norm_epsilon")?;
        Config { width, hidden, norm_epsilon, tied, ..Config::gpt2(vocabulary, context, layers, heads, 0) }
    } else {
        let head_dim = head_dim(&keys, width, heads)?;
        let natural = heads > 0 && width % heads == 0 && width / heads == head_dim;
        let (bias, qkv_bias) = biases(file)?;
        let rope_theta = f64::from(keys.get::<f32>("rope.freq_base")?.unwrap_or(10_000.0));
        Config {
            kv_heads: keys.get("attention.head_count_kv")?.unwrap_or(heads),
            width,
            head_dim: (!natural).then_some(head_dim),
            hidden,
            rope_theta,
            rope_scaling: scaling(&keys, rope_theta, head_dim)?,
            norm_epsilon: keys.require("attention.layer_norm_rms_epsilon")?,
            bias,
            qkv_bias,
            qk_norm: file.contains("blk.0.attn_q_norm.weight"),
            tied,
            ..Config::llama(vocabulary, context, layers, heads, 0)
        }
    };
    config.validate().map_err(|error| Error::checkpoint(file.path(), error.to_string()))?;
    Ok((family, config))
}

fn head_dim(keys: &Keys<'_>, width: usize, heads: usize) -> Result<usize> {
    let dim = keys.get("attention.key_length")?.or(width.checked_div(heads)).unwrap_or(0);
    for (key, computes) in
        [("attention.value_length", "values as wide as keys"), ("rope.dimension_count", "rotation of whole heads")]
    {
        match keys.get::<usize>(key)? {
            Some(other) if other != dim => return Err(keys.refuse(key, other, &format!("{computes} ({dim})"))),
            _ => {}
        }
    }
    Ok(dim)
}

/// Whether all linear layers have biases, and whether only queries, keys and values do, judged by the tensors present.
fn biases(file: &GgufFile) -> Result<(bool, bool)> {
    let has = |names: &[&str]| -> Vec<bool> {
        names.iter().map(|name| file.contains(&format!("blk.0.{name}.bias"))).collect()
    };
    let (qkv, rest) = (has(&["attn_q", "attn_k", "attn_v"]), has(&["attn_output", "ffn_gate", "ffn_up", "ffn_down"]));
    let all = |found: &[bool]| found.iter().all(|has| *has);
    let none = |found: &[bool]| !found.iter().any(|has| *has);
    match () {
        () if none(&qkv) && none(&rest) => Ok((false, false)),
        () if all(&qkv) && none(&rest) => Ok((false, true)),
        () if all(&qkv) && all(&rest) => Ok((true, false)),
        () => {
            let reason = "some layers have biases and some not; wgpt computes biases of all, of queries, keys and values, \
                          or of none";
            Err(Error::checkpoint(file.path(), reason))
        }
    }
}

fn scaling(keys: &Keys<'_>, theta: f64, dim: usize) -> Result<Option<RopeScaling>> {
    let file = keys.file;
    if file.contains(ROPE_FACTORS) {
        if file.shape(ROPE_FACTORS)? != [dim / 2] {
            let reason = format!("'{ROPE_FACTORS}' is {:?}, expected [{}]", file.shape(ROPE_FACTORS)?, dim / 2);
            return Err(Error::checkpoint(file.path(), reason));
        }
        let factors = file.rows(ROPE_FACTORS)?.to_f32();
        return Ok(Some(llama3(file, &factors, theta)?.unwrap_or(RopeScaling::Factors(factors))));
    }
    let factor = keys.get::<f32>("rope.scaling.factor")?.or(keys.get::<f32>("rope.scale_linear")?);
    match (keys.get::<&str>("rope.scaling.type")?, factor) {
        (None, Some(factor)) | (Some("linear"), Some(factor)) if factor != 0.0 && factor != 1.0 => {
            Ok(Some(RopeScaling::Linear { factor: f64::from(factor) }))
        }
        (None | Some("none" | "linear"), _) => Ok(None),
        (Some(other), _) => Err(keys.refuse("rope.scaling.type", other, "none and linear")),
    }
}

/// wgpt's own keys for Llama 3's frequency scaling; llama.cpp reads only the divisors.
const LLAMA3: [&str; 4] = [
    "wgpt.rope_scaling.factor",
    "wgpt.rope_scaling.low_freq_factor",
    "wgpt.rope_scaling.high_freq_factor",
    "wgpt.rope_scaling.original_context",
];

/// The formula behind the divisors, if it is known from wgpt's keys or if the divisors match Meta's own models.
fn llama3(file: &GgufFile, factors: &[f32], theta: f64) -> Result<Option<RopeScaling>> {
    let metadata = file.metadata();
    let number = |key: &str, default: f32| Ok::<_, Error>(f64::from(metadata.get::<f32>(key)?.unwrap_or(default)));
    let guess = RopeScaling::Llama3 {
        factor: number(LLAMA3[0], factors.iter().copied().fold(1.0, f32::max))?,
        low_freq_factor: number(LLAMA3[1], 1.0)?,
        high_freq_factor: number(LLAMA3[2], 4.0)?,
        original_context: metadata.get(LLAMA3[3])?.unwrap_or(8192),
    };
    let agrees = divisors(&guess, theta, factors.len())
        .iter()
        .zip(factors)
        .all(|(formula, factor)| (formula / factor - 1.0).abs() < 1e-4);
    Ok(agrees.then_some(guess))
}

/// The divisors of all `half` frequencies.
fn divisors(scaling: &RopeScaling, theta: f64, half: usize) -> Vec<f32> {
    let divisor = |i: usize| scaling.divisor(i, theta.powf(-(i as f64) / half as f64)) as f32;
    (0..half).map(divisor).collect()
}

/// The metadata of `config`, which belongs to `family`, and the divisors of its rotary frequencies if it has any.
///
/// # Errors
/// [`Error::Config`] for sizes that do not fit in 32 bits.
pub(super) fn write(family: Family, config: &Config) -> Result<(Entries, Option<Vec<f32>>)> {
    let architecture = names::architecture(family);
    let mut entries = vec![("general.architecture".to_string(), Value::Str(architecture.into()))];
    let mut add = |key: &str, value: Value| entries.push((format!("{architecture}.{key}"), value));
    let number = |value: usize| {
        u32::try_from(value).map(Value::U32).map_err(|_| Error::Config(format!("{value} does not fit 32 bits")))
    };
    add("context_length", number(config.context)?);
    add("embedding_length", number(config.width)?);
    add("block_count", number(config.layers)?);
    add("feed_forward_length", number(config.hidden)?);
    add("attention.head_count", number(config.heads)?);
    add("vocab_size", number(config.vocabulary)?);
    if family == Family::Gpt2 {
        add("attention.layer_norm_epsilon", Value::F32(config.norm_epsilon));
        return Ok((entries, None));
    }
    let dim = number(config.head_dim())?;
    add("attention.head_count_kv", number(config.kv_heads)?);
    add("attention.key_length", dim.clone());
    add("attention.value_length", dim.clone());
    add("rope.dimension_count", dim);
    add("rope.freq_base", Value::F32(config.rope_theta as f32));
    add("attention.layer_norm_rms_epsilon", Value::F32(config.norm_epsilon));
    let half = config.head_dim() / 2;
    let mut factors = None;
    match &config.rope_scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => {
            add("rope.scaling.type", Value::Str("linear".into()));
            add("rope.scaling.factor", Value::F32(*factor as f32));
        }
        Some(scaling @ RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
            factors = Some(divisors(scaling, config.rope_theta, half));
            let numbers = [factor, low_freq_factor, high_freq_factor].map(|number| Value::F32(*number as f32));
            let values = numbers.into_iter().chain([number(*original_context)?]);
            entries.extend(LLAMA3.map(String::from).into_iter().zip(values));
        }
        Some(RopeScaling::Factors(given)) => factors = Some(given.clone()),
    }
    Ok((entries, factors))
}
