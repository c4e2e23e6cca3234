//! Converts the vocabulary of a GGUF file to a Hugging Face `tokenizer.json`.
#![expect(clippy::indexing_slicing, reason = "JSON values, which are null where something is missing")]

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{pretokenizer, sentencepiece};
use crate::{Error, Result};

/// Values of `tokenizer.ggml.token_type`; others are ordinary tokens.
pub(super) mod kind {
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const BYTE: i32 = 6;
}

/// The `tokenizer.*` metadata of a GGUF file.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: "gpt2" (byte-level BPE) or "llama" (SentencePiece).
    pub model: String,
    /// `tokenizer.ggml.pre`: how a byte-level vocabulary splits text into words; empty means "default".
    pub pre: String,
    /// `tokenizer.ggml.tokens`, by id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`, by id: SentencePiece scores; empty if there are none.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`, by id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; may be
    /// empty.
    pub kinds: Vec<i32>,
    /// `tokenizer.ggml.merges`: "left right", best first.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`, `eom_token_id`: tokens that end an answer besides `eos`.
    pub ends: Vec<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unknown: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub padding: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
}

impl Vocabulary {
    /// Whether a text begins with the bos token: as the file says, otherwise llama.cpp's default for this kind of
    /// vocabulary.
    pub fn adds_bos(&self) -> bool {
        let usual = match self.model.as_str() {
            "llama" => true,
            _ => pretokenizer::named(&self.pre).is_ok_and(|p| p.adds_bos),
        };
        self.bos.is_some() && self.add_bos.unwrap_or(usual)
    }

    /// The vocabulary as a Hugging Face `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for an unknown model or pre-tokenizer, lists of inconsistent lengths, duplicate tokens, and
    /// merges whose parts are not tokens.
    pub fn tokenizer_json(&self) -> Result<String> {
        self.check_lengths()?;
        let names = self.names();
        let ids: HashMap<&str, u32> = names.iter().zip(0..).map(|(name, id)| (name.as_str(), id)).collect();
        if let Some((name, id)) = names.iter().zip(0..).find(|(name, id)| ids[name.as_str()] != *id) {
            let other = ids[name.as_str()];
            return Err(Error::Tokenizer(format!("the token {name:?} comes twice, as {id} and {other}")));
        }
        let mut file = match self.model.as_str() {
            "gpt2" => self.byte_level(&ids)?,
            "llama" => sentencepiece::file(self, &ids)?,
            other => {
                let reason = format!("the model {other:?} is not known; known are gpt2 and llama");
                return Err(Error::Tokenizer(reason));
            }
        };
        let added = names.iter().zip(0..).filter_map(|(name, id)| {
            let special = matches!(self.kind(id), kind::CONTROL | kind::UNKNOWN);
            (special || self.kind(id) == kind::USER_DEFINED).then(|| {
                json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special})
            })
        });
        file["added_tokens"] = added.collect();
        file["model"]["vocab"] =
            ids.iter().map(|(name, id)| (name.to_string(), json!(id))).collect::<Map<_, _>>().into();
        file["version"] = "1.0".into();
        if let Some(template) = self.bos_template(&names) {
            file["post_processor"] = template;
        }
        Ok(file.to_string())
    }

    pub(super) fn kind(&self, id: u32) -> i32 {
        self.kinds.get(id as usize).copied().unwrap_or(1)
    }

    fn check_lengths(&self) -> Result<()> {
        let tokens = self.tokens.len();
        if tokens == 0 || u32::try_from(tokens).is_err() {
            return Err(Error::Tokenizer(format!("{tokens} tokens make no vocabulary")));
        }
        for (name, length) in [("scores", self.scores.len()), ("token_type", self.kinds.len())] {
            if length != 0 && length != tokens {
                return Err(Error::Tokenizer(format!("{length} {name} for {tokens} tokens")));
            }
        }
        Ok(())
    }

    /// The tokens. Empty ones get a name, because Hugging Face files require one.
    fn names(&self) -> Vec<String> {
        let name =
            |(id, token): (usize, &String)| if token.is_empty() { format!("[EMPTY_{id}]") } else { token.clone() };
        self.tokens.iter().enumerate().map(name).collect()
    }

    fn byte_level(&self, ids: &HashMap<&str, u32>) -> Result<Value> {
        let pre = pretokenizer::named(&self.pre)?;
        let split = |regex: &&str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let steps: Vec<_> = pre.splits.iter().map(split).chain([level.clone()]).collect();
        let merges: Vec<_> = self.merges.iter().map(|merge| self.merge(merge, ids)).collect::<Result<_>>()?;
        Ok(json!({
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": level,
            "decoder": level,
            "model": {"type": "BPE", "ignore_merges": pre.whole_words, "merges": merges},
        }))
    }

    fn merge<'a>(&self, merge: &'a str, ids: &HashMap<&str, u32>) -> Result<(&'a str, &'a str)> {
        // A token may begin with a space, but not end with one.
        let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let parts = space.map(|at| (&merge[..at], &merge[at + 1..]));
        parts
            .filter(|(a, b)| [*a, *b, &format!("{a}{b}")].iter().all(|part| ids.contains_key(part)))
            .ok_or_else(|| Error::Tokenizer(format!("the merge {merge:?} is not of two tokens to a third")))
    }

    /// Hugging Face's description of texts that begin with bos and end with eos.
    fn bos_template(&self, names: &[String]) -> Option<Value> {
        let bos = self.bos.filter(|_| self.adds_bos());
        let eos = self.eos.filter(|_| self.add_eos == Some(true));
        let piece = |id: Option<u32>| {
            let (id, name) = id.and_then(|id| Some((id, names.get(id as usize)?)))?;
            Some((
                json!({"SpecialToken": {"id": name, "type_id": 0}}),
                (name.clone(), json!({"id": name, "ids": [id], "tokens": [name]})),
            ))
        };
        let (bos, eos) = (piece(bos), piece(eos));
        let around = |sequence: &str, type_id| {
            let text = json!({"Sequence": {"id": sequence, "type_id": type_id}});
            let ends = [&bos, &eos].map(|end| end.as_ref().map(|(piece, _)| piece.clone()));
            let [before, after] = ends;
            before.into_iter().chain([text]).chain(after).collect::<Vec<_>>()
        };
        let special: Map<_, _> = [&bos, &eos].into_iter().flatten().map(|(_, token)| token.clone()).collect();
        let pair = [around("A", 0), around("B", 1)].concat();
        (!special.is_empty()).then(
            || json!({"type": "TemplateProcessing", "single": around("A", 0), "pair": pair, "special_tokens": special}),
        )
    }
}
