//! BPE in the Hugging Face format, using the `tokenizers` crate.
//!
//! A byte-level vocabulary spells every byte as a printable character (GPT-2's table), so any text can be encoded and
//! no token is unknown. A SentencePiece vocabulary spells text as it is, a space as U+2581, and the bytes of characters
//! it lacks as `<0x0A>`. Tokens are decoded to bytes here, because a token may end within a character.
#![expect(clippy::indexing_slicing, reason = "JSON values, which are null where something is missing")]

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use serde_json::Value;
use tokenizers::{
    AddedToken, TokenizerImpl,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

use super::{
    corpus::pieces,
    pipeline,
    sentencepiece::{self, SPACE},
};
use crate::{Error, Result};

/// Size in bytes of the pieces that are encoded in parallel on all cores.
const PIECE: usize = 1 << 16;

fn error(e: tokenizers::Error) -> Error {
    Error::Tokenizer(e.to_string())
}

/// The byte that each character of a byte-level vocabulary stands for: printable Latin-1 characters stand for
/// themselves; the other 68 bytes, in order, are U+0100 onwards (GPT-2's `bytes_to_unicode`).
static BYTE_OF: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=255).filter(|b| !printable(b)).zip('\u{100}'..);
    (0..=255).filter(printable).map(|b| (char::from(b), b)).chain(others.map(|(b, c)| (c, b))).collect()
});

/// How tokens are spelled in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    ByteLevel,
    SentencePiece,
}

/// A BPE tokenizer, byte-level or SentencePiece-style.
#[derive(Clone, Debug)]
pub struct BpeTokenizer {
    /// Treats special tokens in a text as ordinary text.
    plain: tokenizers::Tokenizer,
    /// Recognises special tokens in a text.
    special: tokenizers::Tokenizer,
    /// The bytes of each token; ids without a token are empty.
    bytes: Vec<Vec<u8>>,
    spelling: Spelling,
    before: Vec<u32>,
    /// The file as it was read. It is saved unchanged, whatever this version of the library would write.
    json: String,
}

impl BpeTokenizer {
    /// Trains merges on texts; `special` tokens get the first ids, followed by the 256 bytes. The result does not
    /// depend on the order of the texts. A small text may give fewer than `vocab_size` tokens.
    pub(super) fn train<'a>(
        texts: impl Iterator<Item = &'a str> + Send,
        vocab_size: usize,
        special: &[&str],
    ) -> Result<Self> {
        let least = 256 + special.len();
        if vocab_size < least {
            let reason = format!("a vocabulary of {vocab_size} is too small: bytes and special tokens take {least}");
            return Err(Error::Tokenizer(reason));
        }
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<_>>())
            .special_tokens(special.iter().map(|s| AddedToken::from(*s, true)).collect())
            .build();
        let level = ByteLevel::default().add_prefix_space(false);
        let mut learner =
            TokenizerImpl::<BPE, tokenizers::NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>::new(BPE::default());
        learner.with_pre_tokenizer(Some(level)).with_post_processor(Some(level)).with_decoder(Some(level));
        learner.train(&mut trainer, texts.flat_map(|t| pieces(t, PIECE))).map_err(error)?;
        Self::from_json(learner.to_string(false).map_err(error)?)
    }

    pub(super) fn from_json(json: String) -> Result<Self> {
        let mut value: Value = serde_json::from_str(&json).map_err(|e| Error::Tokenizer(format!("not JSON: {e}")))?;
        if !value.is_object() {
            return Err(Error::Tokenizer("not a JSON object".into()));
        }
        let model = value["model"]["type"].as_str().unwrap_or("none");
        // Older files omit the type; only BPE has merges.
        if model != "BPE" && !(model == "none" && value["model"]["merges"].is_array()) {
            return Err(Error::Tokenizer(format!("the model is {model}; wgpt reads BPE")));
        }
        let spelling = spelling(&value)?;
        check_model(&value["model"])?;
        pipeline::check(&value)?;
        let before = pipeline::prefix_ids(&value)?;
        // What was checked is what runs, and not the text once more, in which a name may come twice. Nothing is added here.
        value["post_processor"] = Value::Null;
        let mut plain: tokenizers::Tokenizer =
            serde_json::from_value(value).map_err(|e| Error::Tokenizer(e.to_string()))?;
        // A file may ask for truncation and padding; here texts are encoded in full, without padding.
        plain.with_truncation(None).map_err(error)?.with_padding(None);
        let special = plain.clone();
        plain.set_encode_special_tokens(true);

        let added = plain.get_added_tokens_decoder();
        let vocab = plain.get_vocab(true);
        let count = vocab.values().max().map_or(0, |&id| id as usize + 1);
        // Every token takes more than a byte of the file, so no valid file is refused.
        if count > json.len() {
            return Err(Error::Tokenizer(format!("a file of {} bytes has no token {}", json.len(), count - 1)));
        }
        let mut bytes = vec![Vec::new(); count];
        for (token, id) in vocab {
            let Some(entry) = bytes.get_mut(id as usize) else { continue };
            *entry = match spelling {
                _ if added.contains_key(&id) => token.into_bytes(),
                Spelling::ByteLevel => spelled(&token),
                Spelling::SentencePiece => match sentencepiece::byte(&token) {
                    Some(byte) => vec![byte],
                    None => token.replace(SPACE, " ").into_bytes(),
                },
            };
        }
        Ok(Self { plain, special, bytes, spelling, before, json })
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], Vec::as_slice)
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.special.token_to_id(token)
    }

    pub(super) fn is_added(&self, id: u32) -> bool {
        self.special.get_added_tokens_decoder().contains_key(&id)
    }

    /// The ids that the file's post-processor puts before a text. They are not added here.
    pub(super) fn before(&self) -> &[u32] {
        &self.before
    }

    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        // Not split into pieces: a special token may contain a space, and SentencePiece may add one before each text.
        if special || self.spelling == Spelling::SentencePiece {
            let tokenizer = if special { &self.special } else { &self.plain };
            return Ok(tokenizer.encode_fast(text, false).map_err(error)?.get_ids().to_vec());
        }
        let encoded = self.plain.encode_batch_fast(pieces(text, PIECE).collect(), false).map_err(error)?;
        Ok(encoded.iter().flat_map(|e| e.get_ids()).copied().collect())
    }
}

/// Refuses what would encode a text differently each time, and tokens that are not spelled as the text they stand for.
fn check_model(model: &Value) -> Result<()> {
    for name in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        match &model[name] {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            value if value.as_f64() == Some(0.0) => {}
            value => return Err(Error::Tokenizer(format!("the model's {name} is {value}, which is not supported"))),
        }
    }
    Ok(())
}

fn spelled(token: &str) -> Vec<u8> {
    token.chars().map(|c| BYTE_OF.get(&c).copied()).collect::<Option<_>>().unwrap_or_else(|| token.into())
}

fn spelling(file: &Value) -> Result<Spelling> {
    let decoder = &file["decoder"];
    let metaspace = |v: &Value| v["type"] == "Metaspace" || v["pattern"]["String"] == SPACE.to_string();
    if any(decoder, &|v| v["type"] == "ByteLevel") {
        Ok(Spelling::ByteLevel)
    } else if any(decoder, &metaspace) {
        Ok(Spelling::SentencePiece)
    } else {
        let reason = "BPE, but neither byte-level nor SentencePiece's kind (no ByteLevel or Metaspace decoder)";
        Err(Error::Tokenizer(reason.into()))
    }
}

/// Whether `holds` is true of a value or of any value nested in it.
fn any(value: &Value, holds: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Object(map) => holds(value) || map.values().any(|v| any(v, holds)),
        Value::Array(all) => all.iter().any(|v| any(v, holds)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::BpeTokenizer;

    fn trained() -> Value {
        let tokenizer = BpeTokenizer::train(["the cat, the hat, the bat"].into_iter(), 262, &["<|end|>"]).unwrap();
        serde_json::from_str(tokenizer.json()).unwrap()
    }

    #[test]
    fn files_that_are_not_understood_are_refused() {
        let grows = json!({"type": "Sequence", "normalizers":
            vec![json!({"type": "Replace", "pattern": {"String": "<"}, "content": "<<<<<<<<<<"}); 15]});
        let adds = json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
            "special_tokens": {"x": {"id": "x", "ids": vec![0; 200_000], "tokens": vec!["x"; 200_000]}}});
        for (place, value, words) in [
            ("/normalizer", grows, "1000000000000000 times"),
            ("/post_processor", adds, "200000 tokens"),
            ("/model/dropout", json!(0.1), "dropout is 0.1"),
            ("/model/end_of_word_suffix", json!("</w>"), "end_of_word_suffix"),
            ("/model/continuing_subword_prefix", json!("##"), "continuing_subword_prefix"),
        ] {
            let mut file = trained();
            *file.pointer_mut(place).unwrap_or_else(|| panic!("{place} is in the file")) = value;
            let error = BpeTokenizer::from_json(file.to_string()).unwrap_err().to_string();
            assert!(error.contains(words), "{place}: {error}");
        }
    }
}
