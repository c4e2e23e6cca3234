//! Converts between a tokenizer and GGUF metadata.
//!
//! The whole tokenizer.json is also stored in the file (`tokenizer.huggingface.json` in GGUF's specification), so that
//! wgpt reads back exactly what it wrote.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::config::Entries;
use crate::{
    Error, Result,
    formats::gguf::{Array, GgufFile, Value},
    interchange::TextCodec,
    text::{Conventions, Tokenizer, Vocabulary, pretokenizer},
};

const WHOLE: &str = "tokenizer.huggingface.json";

/// llama.cpp's token types.
mod kind {
    pub const NORMAL: i32 = 1;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
}

fn wrong(reason: impl Into<String>) -> Error {
    Error::Tokenizer(format!("GGUF: {}", reason.into()))
}

/// The tokenizer stored in a file.
///
/// # Errors
/// [`Error::Checkpoint`] if the metadata have types other than GGUF specifies, [`Error::Tokenizer`].
pub fn tokenizer(file: &GgufFile) -> Result<Tokenizer> {
    match file.metadata().get::<&str>(WHOLE)? {
        Some(json) => Tokenizer::from_json(json),
        None => Tokenizer::from_gguf(&vocabulary(file)?),
    }
}

/// The vocabulary described by a file's metadata.
///
/// # Errors
/// [`Error::Checkpoint`] naming the key that is missing or has a type other than GGUF specifies.
pub fn vocabulary(file: &GgufFile) -> Result<Vocabulary> {
    let metadata = file.metadata();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let text = |name: &str| Ok::<_, Error>(metadata.get::<&str>(&key(name))?.unwrap_or_default().to_string());
    let texts = |name: &str| Ok::<_, Error>(metadata.get::<&[String]>(&key(name))?.unwrap_or_default().to_vec());
    let flag = |name: &str| metadata.get::<bool>(&key(name));
    let id = |name: &str| metadata.get::<u32>(&key(name));
    Ok(Vocabulary {
        model: metadata.require::<&str>(&key("model"))?.to_string(),
        pre: text("pre")?,
        tokens: texts("tokens")?,
        scores: metadata.get::<Cow<'_, [f32]>>(&key("scores"))?.unwrap_or_default().into_owned(),
        kinds: metadata.get::<Cow<'_, [i32]>>(&key("token_type"))?.unwrap_or_default().into_owned(),
        merges: texts("merges")?,
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        ends: [id("eot_token_id")?, id("eom_token_id")?].into_iter().flatten().collect(),
        unknown: id("unknown_token_id")?,
        padding: id("padding_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        chat_template: metadata.get::<&str>("tokenizer.chat_template")?.map(String::from),
    })
}

/// The metadata below `tokenizer.` that are read.
const READ: &[&str] = &[
    "chat_template",
    "ggml.add_bos_token",
    "ggml.add_eos_token",
    "ggml.add_space_prefix",
    "ggml.bos_token_id",
    "ggml.eom_token_id",
    "ggml.eos_token_id",
    "ggml.eot_token_id",
    "ggml.merges",
    "ggml.model",
    "ggml.padding_token_id",
    "ggml.pre",
    "ggml.scores",
    "ggml.token_type",
    "ggml.tokens",
    "ggml.unknown_token_id",
    "huggingface.json",
];

/// What a user should know about how a file's tokenizer is read: metadata that are not, and what is assumed.
pub fn remarks(file: &GgufFile) -> Vec<String> {
    let names = file.metadata().entries().iter().filter_map(|(key, _)| key.strip_prefix("tokenizer."));
    let mut remarks: Vec<_> =
        names.filter(|name| !READ.contains(name)).map(|name| format!("tokenizer.{name} is not used")).collect();
    remarks.extend(assumed(file).map(str::to_string));
    remarks
}

/// What is assumed about a file's tokenizer because the file does not say.
pub fn assumed(file: &GgufFile) -> Option<&'static str> {
    let value = |key: &str| file.metadata().value(&format!("tokenizer.{key}"));
    let byte_level = matches!(value("ggml.model"), Some(Value::Str(model)) if model == "gpt2");
    let silent = value("ggml.pre").is_none() && file.metadata().value(WHOLE).is_none();
    (byte_level && silent).then_some(
        "tokenizer.ggml.pre is missing: words are split in llama.cpp's default way, which may not be the model's",
    )
}

/// The metadata of a tokenizer and its conventions for a model of `vocabulary` tokens. Only wgpt can read a character
/// tokenizer's; other programs see a model that takes token ids.
///
/// # Errors
/// [`Error::Tokenizer`] for a way of splitting words that llama.cpp has no name for, or more tokens than the model has.
pub(super) fn metadata(codec: &TextCodec, vocabulary: usize) -> Result<Entries> {
    let json = codec.tokenizer.to_json();
    let mut entries = Vec::new();
    let mut add = |key: &str, value: Value| entries.push((format!("tokenizer.{key}"), value));
    if let Tokenizer::Char(_) = codec.tokenizer {
        add("ggml.model", Value::Str("none".into()));
        add("huggingface.json", Value::Str(json));
        return Ok(entries);
    }
    let file: Json = serde_json::from_str(&json).map_err(|error| wrong(error.to_string()))?;
    let (tokens, kinds) = tokens(&file, vocabulary)?;
    add("ggml.model", Value::Str("gpt2".into()));
    add("ggml.pre", Value::Str(pretokenizer::name_of(&file)?.into()));
    add("ggml.tokens", Value::Array(Array::Str(tokens)));
    add("ggml.token_type", Value::Array(Array::I32(kinds)));
    add("ggml.merges", Value::Array(Array::Str(merges(&file)?)));
    let Conventions { bos, eos, add_bos, template, stops, unknown, padding } = &codec.conventions;
    // A file can state one more token that ends an answer; of those that many models have, programs know the names.
    let mut others = stops.iter().filter(|id| Some(**id) != *eos);
    let unnamed = others.clone().find(|id| !Conventions::ends_by_name(&codec.tokenizer.token_text(**id)));
    let eot = unnamed.or(others.next()).copied();
    for (key, id) in [
        ("ggml.bos_token_id", *bos),
        ("ggml.eos_token_id", *eos),
        ("ggml.eot_token_id", eot),
        ("ggml.unknown_token_id", *unknown),
        ("ggml.padding_token_id", *padding),
    ] {
        if let Some(id) = id {
            add(key, Value::U32(id));
        }
    }
    add("ggml.add_bos_token", Value::Bool(*add_bos));
    if let Some(template) = template {
        add("chat_template", Value::Str(template.clone()));
    }
    add("huggingface.json", Value::Str(json));
    Ok(entries)
}

/// Every token by id with its type; ids without a token get placeholders.
fn tokens(file: &Json, vocabulary: usize) -> Result<(Vec<String>, Vec<i32>)> {
    let mut tokens: Vec<_> = (0..vocabulary).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![kind::UNUSED; vocabulary];
    let mut put = |id: Option<u64>, token: &str, kind: i32| {
        let id = id.and_then(|id| usize::try_from(id).ok()).filter(|id| *id < vocabulary);
        let id = id.ok_or_else(|| wrong(format!("token {token:?} is outside the model's {vocabulary} tokens")))?;
        (tokens[id], kinds[id]) = (token.to_string(), kind);
        Ok::<_, Error>(())
    };
    for (token, id) in file["model"]["vocab"].as_object().into_iter().flatten() {
        put(id.as_u64(), token, kind::NORMAL)?;
    }
    for added in file["added_tokens"].as_array().into_iter().flatten() {
        let special = added["special"].as_bool().unwrap_or(false);
        let kind = if special { kind::CONTROL } else { kind::USER_DEFINED };
        put(added["id"].as_u64(), added["content"].as_str().unwrap_or_default(), kind)?;
    }
    Ok((tokens, kinds))
}

/// "a b" for each merge; files store merges in this form or as pairs.
fn merges(file: &Json) -> Result<Vec<String>> {
    let merge = |merge: &Json| match merge {
        Json::String(text) => Ok(text.clone()),
        Json::Array(pair) if pair.len() == 2 => {
            Ok(format!("{} {}", pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default()))
        }
        other => Err(wrong(format!("a merge is {other}"))),
    };
    file["model"]["merges"].as_array().into_iter().flatten().map(merge).collect()
}
