//! What goes with a model's weights so that it can read and write: tokenizer, first and last token, chat template.

use std::{fs, path::Path};

use serde_json::Value;

use super::{folder_of, gguf, huggingface, read_json};
use crate::{Error, Result, formats::gguf::GgufFile, io::checkpoint, text::Tokenizer};

/// How a model reads and writes.
#[derive(Clone, Debug)]
pub struct Language {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// The token that begins a text, where the model knows one.
    pub bos: Option<u32>,
    /// The token that ends what the model says.
    pub eos: Option<u32>,
    /// How a conversation becomes a text (Jinja).
    pub chat_template: Option<String>,
}

impl Language {
    /// That of a tokenizer alone: texts begin and end with [`Tokenizer::end_of_text`].
    pub fn plain(tokenizer: Tokenizer) -> Self {
        let end = tokenizer.end_of_text();
        Self { tokenizer, bos: end, eos: end, chat_template: None }
    }

    /// That of the model at `path`; see [`super::open`].
    ///
    /// # Errors
    /// [`Error::Tokenizer`], [`Error::Checkpoint`] or [`Error::Io`] when there is none, or none that wgpt reads.
    pub fn open(path: &Path) -> Result<Self> {
        if GgufFile::is_gguf(path) {
            return Self::of_gguf(&GgufFile::open(path)?);
        }
        let folder = folder_of(path);
        if huggingface::Folder::is_one(folder) {
            return Self::of_folder(folder);
        }
        Tokenizer::load(&checkpoint::resolve(path)?).map(Self::plain)
    }

    fn of_gguf(file: &GgufFile) -> Result<Self> {
        let tokenizer = gguf::tokenizer(file)?;
        let number = |key: &str| file.metadata().get::<u32>(&format!("tokenizer.ggml.{key}"));
        let chat_template = file.metadata().get::<&str>("tokenizer.chat_template")?.map(String::from);
        let (bos, eos) = (number("bos_token_id")?, number("eos_token_id")?.or(tokenizer.end_of_text()));
        Ok(Self { tokenizer, bos, eos, chat_template })
    }

    fn of_folder(folder: &Path) -> Result<Self> {
        let tokenizer = Tokenizer::load(folder)?;
        let model = read_json(&folder.join("config.json"))?;
        let optional = |name: &str| {
            let path = folder.join(name);
            if path.is_file() { read_json(&path) } else { Ok(Value::Null) }
        };
        let about = optional("tokenizer_config.json")?;
        // A name, or an object around one; else an id, or a list of such.
        let id = |name: &str| {
            let token = about[name].as_str().or(about[name]["content"].as_str());
            let number = &model[format!("{name}_id")];
            let number = number.as_u64().or(number[0].as_u64()).and_then(|id| id.try_into().ok());
            token
                .and_then(|token| tokenizer.token_id(token))
                .or(number)
                .filter(|id| (*id as usize) < tokenizer.vocab_size())
        };
        let (bos, eos) = (id("bos_token"), id("eos_token").or(tokenizer.end_of_text()));
        let file = folder.join("chat_template.jinja");
        let chat_template = match &about["chat_template"] {
            _ if file.is_file() => Some(fs::read_to_string(&file).map_err(Error::io(&file, "read"))?),
            Value::String(template) => Some(template.clone()),
            // Some models have several, by name.
            Value::Array(all) => all
                .iter()
                .find(|entry| entry["name"] == "default")
                .and_then(|entry| entry["template"].as_str())
                .map(String::from),
            _ => None,
        };
        Ok(Self { tokenizer, bos, eos, chat_template })
    }
}
