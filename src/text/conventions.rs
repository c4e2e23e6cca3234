//! Which tokens begin and end a text, and how a conversation is written, as a model's files say.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use super::{ChatTemplate, Tokenizer, Vocabulary};
use crate::{Error, Result};

/// Tokens that end an answer in well-known models, whether or not their files say so.
const ENDS: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "<|eot|>",
    "<|return|>",
    "<EOT>",
    "_<EOT>",
    "<|EOT|>",
    "<turn|>",
];

/// What a model expects around texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conventions {
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// Tokens that end an answer, in ascending order; `eos` is among them.
    pub stops: Vec<u32>,
    /// Whether `bos` stands before a text that is not written by the chat template.
    pub add_bos: bool,
    /// The chat template, in Jinja.
    pub template: Option<String>,
}

impl Conventions {
    /// Those of a GGUF file; `tokenizer` is the one made of the same vocabulary.
    pub fn of_gguf(vocabulary: &Vocabulary, tokenizer: &Tokenizer) -> Self {
        let valid = |id: &u32| (*id as usize) < vocabulary.tokens.len();
        let (bos, eos) = (vocabulary.bos.filter(valid), vocabulary.eos.filter(valid));
        let add_bos = bos.is_some() && vocabulary.adds_bos();
        let template = vocabulary.chat_template.clone();
        Self { bos, eos, stops: stops(eos, tokenizer), add_bos, template }
    }

    /// Those of a Hugging Face folder: `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json`,
    /// `config.json` and `chat_template.jinja`, as many as there are.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a file that is no JSON.
    pub fn of_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Self> {
        let read = |name| json(&folder.join(name));
        let (config, map) = (read("tokenizer_config.json")?, read("special_tokens_map.json")?);
        let (generation, model) = (read("generation_config.json")?, read("config.json")?);
        let token = |name: &str| {
            let named = [&config, &map].into_iter().find_map(|file| tokenizer.token_id(text(&file[name])?));
            let id =
                || [&generation, &model].into_iter().find_map(|file| ids(&file[format!("{name}_id")]).first().copied());
            named.or_else(|| id().filter(|&id| (id as usize) < tokenizer.vocab_size()))
        };
        let (bos, eos) = (token("bos_token"), token("eos_token"));
        let all = [&generation, &model].into_iter().flat_map(|file| ids(&file["eos_token_id"]));
        let given = all.filter(|&id| (id as usize) < tokenizer.vocab_size());
        let stops = BTreeSet::from_iter(stops(eos, tokenizer).into_iter().chain(given)).into_iter().collect();
        // The tokenizer's own post-processor decides where the configuration does not.
        let add_bos =
            config["add_bos_token"].as_bool().unwrap_or_else(|| bos.is_some_and(|bos| tokenizer.begins_with(bos)));
        let beside = folder.join("chat_template.jinja");
        let template = match beside.exists() {
            true => Some(fs::read_to_string(&beside).map_err(Error::io(&beside, "read"))?),
            false => template(&config["chat_template"]),
        };
        Ok(Self { bos, eos, stops, add_bos: add_bos && bos.is_some(), template })
    }

    /// The chat template, ready to render; ChatML where the model has none.
    ///
    /// # Errors
    /// [`Error::Template`] for a template that cannot be read.
    pub fn chat(&self, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let name = |id: Option<u32>| id.map(|id| tokenizer.token_text(id)).unwrap_or_default();
        match &self.template {
            Some(template) => ChatTemplate::new(template, &name(self.bos), &name(self.eos)),
            None => ChatTemplate::chatml(),
        }
    }
}

fn stops(eos: Option<u32>, tokenizer: &Tokenizer) -> Vec<u32> {
    let known = ENDS.iter().filter_map(|name| tokenizer.special_id(name));
    BTreeSet::from_iter(known.chain(eos)).into_iter().collect()
}

/// A file's content; null where there is none.
fn json(path: &Path) -> Result<Value> {
    if !path.exists() {
        return Ok(Value::Null);
    }
    let content = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    serde_json::from_str(&content).map_err(|e| Error::data(path, format!("not JSON: {e}")))
}

/// A token's text: alone, or as the content of an object.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// One id or several.
fn ids(value: &Value) -> Vec<u32> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// A template alone, or the default of several that have names.
fn template(value: &Value) -> Option<String> {
    let named = || value.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    value.as_str().or_else(named).map(str::to_string)
}
