//! Which tokens begin and end a text, and how a conversation is formatted, according to a model's files.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{
    ChatTemplate, DataFile, Tokenizer, Vocabulary,
    chat::{self, SpecialTokens},
};
use crate::{Error, Result, content::without_mark};

/// Tokens that end an answer in well-known models, whether or not their files list them.
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
    "<end_of_utterance>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "[EOT]",
];

/// What a model expects around texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conventions {
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// Tokens that end an answer, in ascending order, including `eos`.
    pub stops: Vec<u32>,
    /// Whether `bos` is put before a text that does not come from the chat template.
    pub add_bos: bool,
    /// The chat template, in Jinja.
    pub template: Option<String>,
    /// The token for what the tokenizer does not know; some templates write it.
    pub unknown: Option<u32>,
    /// The token that fills up batches; some templates write it.
    pub padding: Option<u32>,
}

/// The token that begins a turn in ChatML.
const CHATML_TOKEN: &str = "<|im_start|>";

impl Conventions {
    /// The conventions of a GGUF file; `tokenizer` is the one built from the same vocabulary.
    pub fn of_gguf(vocabulary: &Vocabulary, tokenizer: &Tokenizer) -> Self {
        let valid = |id: &u32| (*id as usize) < vocabulary.tokens.len();
        let (bos, eos) = (vocabulary.bos.filter(valid), vocabulary.eos.filter(valid));
        let add_bos = bos.is_some() && vocabulary.adds_bos();
        let template = vocabulary.chat_template.clone();
        let stated = vocabulary.ends.iter().copied().filter(valid);
        let stops = BTreeSet::from_iter(stops(eos, tokenizer).into_iter().chain(stated)).into_iter().collect();
        let (unknown, padding) = (vocabulary.unknown.filter(valid), vocabulary.padding.filter(valid));
        Self { bos, eos, stops, add_bos, template, unknown, padding }
    }

    /// Whether a token of this name ends an answer, whether or not a file lists it.
    pub fn ends_by_name(name: &str) -> bool {
        ENDS.contains(&name)
    }

    /// The conventions of a Hugging Face folder, from whichever of `tokenizer_config.json`, `special_tokens_map.json`,
    /// `generation_config.json`, `config.json` and `chat_template.jinja` exist.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a file that is not valid JSON.
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
        // The tokenizer's own post-processor decides if the configuration does not say.
        let add_bos = config
            .get("add_bos_token")
            .and_then(Value::as_bool)
            .unwrap_or_else(|| bos.is_some_and(|bos| tokenizer.begins_with(bos)));
        let beside = folder.join("chat_template.jinja");
        let template = match beside.exists() {
            true => Some(DataFile::open(&beside)?.text_within(chat::LONGEST as u64)?),
            false => config.get("chat_template").and_then(template),
        };
        let (unknown, padding) = (token("unk_token"), token("pad_token"));
        Ok(Self { bos, eos, stops, add_bos: add_bos && bos.is_some(), template, unknown, padding })
    }

    /// The chat template, ready to render; ChatML if the model has none.
    ///
    /// # Errors
    /// [`Error::Template`] if the template cannot be parsed.
    pub fn chat(&self, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let name = |id: Option<u32>| id.map(|id| tokenizer.token_text(id)).unwrap_or_default();
        match &self.template {
            Some(template) => {
                let (unknown, padding) = (name(self.unknown), name(self.padding));
                ChatTemplate::new(
                    template,
                    SpecialTokens { bos: name(self.bos), eos: name(self.eos), unknown, padding },
                )
            }
            None => ChatTemplate::chatml(),
        }
    }

    /// [`Conventions::chat`] for a chat model, that is, one with a template or ChatML's tokens; [`None`] for any other.
    ///
    /// # Errors
    /// Returns the errors of [`Conventions::chat`].
    pub fn talk(&self, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
        let talks = self.template.is_some() || tokenizer.special_id(CHATML_TOKEN).is_some();
        talks.then(|| self.chat(tokenizer)).transpose()
    }

    /// The conventions that a model is fine-tuned with. A model without its own template gets ChatML if its vocabulary
    /// has ChatML's tokens, otherwise "User:" and "Assistant:" on lines of their own. In the latter case an answer ends
    /// with the token that ends texts or, if there is none, at the end of its line (and is kept to one line).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the vocabulary has nothing that could end an answer.
    pub fn taught(&self, tokenizer: &Tokenizer) -> Result<Self> {
        let mut taught = self.clone();
        if taught.template.is_none() && tokenizer.special_id(CHATML_TOKEN).is_some() {
            taught.template = Some(chat::CHATML.to_string());
        }
        if taught.template.is_some() && !taught.stops.is_empty() {
            return Ok(taught);
        }
        let bos = if taught.add_bos { "{{ bos_token }}" } else { "" };
        let template = if taught.eos.is_some() { chat::TURNS } else { chat::LINES };
        if taught.eos.is_none() {
            let newline = tokenizer.encode("\n").ok().filter(|ids| ids.len() == 1).and_then(|ids| ids.first().copied());
            let newline = newline.ok_or_else(|| {
                Error::Tokenizer("no token ends texts and none is a line break: nothing could end an answer".into())
            })?;
            (taught.eos, taught.stops) = (Some(newline), vec![newline]);
        }
        taught.template.get_or_insert_with(|| format!("{bos}{template}"));
        Ok(taught)
    }

    /// Names and contents of the files from which [`Conventions::of_folder`] restores these conventions.
    pub fn files(&self) -> [(&'static str, Value); 2] {
        let ends: Vec<u32> =
            self.eos.into_iter().chain(self.stops.iter().copied().filter(|id| Some(*id) != self.eos)).collect();
        let about = json!({ "chat_template": self.template, "add_bos_token": self.add_bos });
        let ids = json!({
            "bos_token_id": self.bos, "eos_token_id": ends, "unk_token_id": self.unknown, "pad_token_id": self.padding,
        });
        [("tokenizer_config.json", about), ("generation_config.json", ids)]
    }
}

fn stops(eos: Option<u32>, tokenizer: &Tokenizer) -> Vec<u32> {
    let known = ENDS.iter().filter_map(|name| tokenizer.special_id(name));
    BTreeSet::from_iter(known.chain(eos)).into_iter().collect()
}

/// A file's content; null if it does not exist.
fn json(path: &Path) -> Result<Value> {
    if !path.exists() {
        return Ok(Value::Null);
    }
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    serde_json::from_slice(without_mark(&bytes)).map_err(|e| Error::data(path, format!("not JSON: {e}")))
}

/// A token's text, given directly or as the content of an object.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// One id or a list of ids.
fn ids(value: &Value) -> Vec<u32> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// A single template, or the default among named templates.
fn template(value: &Value) -> Option<String> {
    let named = || value.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    value.as_str().or_else(named).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gguf_file_states_ends_an_answer() {
        let special = ["<bos>", "<eos>", "<end_of_utterance>", "<my end>", "<pad>"];
        let tokenizer = Tokenizer::train_bpe(["abc abd"].into_iter(), 270, &special).unwrap();
        let id = |name: &str| tokenizer.token_id(name).unwrap();
        let stated = Vocabulary {
            tokens: vec![String::new(); tokenizer.vocab_size()],
            bos: Some(id("<bos>")),
            eos: Some(id("<eos>")),
            ends: vec![id("<my end>"), u32::MAX],
            padding: Some(id("<pad>")),
            unknown: Some(u32::MAX),
            ..Default::default()
        };
        let conventions = Conventions::of_gguf(&stated, &tokenizer);
        // By its name, by what the file states, and the end of texts; not what is no token.
        assert_eq!(conventions.stops, [id("<eos>"), id("<end_of_utterance>"), id("<my end>")]);
        assert_eq!((conventions.padding, conventions.unknown), (Some(id("<pad>")), None));
    }

    #[test]
    fn a_taught_model_reads_its_conventions_again() {
        let chars = Tokenizer::chars_of(["Uabc:\nAsrtien "]).unwrap();
        let bpe = Tokenizer::train_bpe(["abc abc"].into_iter(), 270, &["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
            .unwrap();
        let end = Conventions { bos: Some(0), eos: Some(0), stops: vec![0, 2], ..Conventions::default() };
        for (tokenizer, before, begins) in
            [(&chars, Conventions::default(), "User:\n"), (&bpe, end, "<|im_start|>user\n")]
        {
            let taught = before.taught(tokenizer).unwrap();
            let text =
                taught.chat(tokenizer).unwrap().render(&[super::super::Message::new("user", "a\nb")], true).unwrap();
            assert!(text.starts_with(begins), "{text}");
            let dir = tempfile::tempdir().unwrap();
            for (name, content) in taught.files() {
                fs::write(dir.path().join(name), content.to_string()).unwrap();
            }
            assert_eq!(Conventions::of_folder(dir.path(), tokenizer).unwrap(), taught);
            assert_eq!(taught.taught(tokenizer).unwrap(), taught);
        }
        let newline = chars.token_id("\n").unwrap();
        assert_eq!(Conventions::default().taught(&chars).unwrap().stops, [newline]);
        let none = Tokenizer::chars_of(["abc"]).unwrap();
        assert!(Conventions::default().taught(&none).is_err());
    }
}
