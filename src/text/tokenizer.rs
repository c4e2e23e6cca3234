//! Converts text to token ids and back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    bpe::BpeTokenizer,
    char::{CharFile, CharTokenizer},
};
use crate::{Error, Result, io::atomic};

/// The token that ends a document, under GPT-2's name.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer; both kinds are saved as `tokenizer.json`.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// One token per character.
    Char(CharTokenizer),
    /// Byte-pair encoding, byte-level or SentencePiece-style, in the Hugging Face format.
    Bpe(Box<BpeTokenizer>),
}

impl Tokenizer {
    /// A character tokenizer with the sorted, distinct characters of some texts.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the texts are empty.
    pub fn chars_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        CharTokenizer::from_texts(texts).map(Self::Char)
    }

    /// Trains a byte-level BPE with GPT-2's word splitting. `special` tokens get the first ids, then come the 256
    /// bytes, then the merges (of pairs seen at least twice, so a small text may give fewer than `vocab_size` tokens).
    /// Deterministic.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if `vocab_size` is too small for the bytes and special tokens.
    pub fn train_bpe<'a>(
        texts: impl Iterator<Item = &'a str> + Send,
        vocab_size: usize,
        special: &[&str],
    ) -> Result<Self> {
        BpeTokenizer::train(texts, vocab_size, special).map(|t| Self::Bpe(Box::new(t)))
    }

    /// Loads a `tokenizer.json`, or the one in a folder: wgpt's own or a Hugging Face file with a BPE model.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Tokenizer`] if it is not such a file.
    pub fn load(path: &Path) -> Result<Self> {
        let file = file_in(path);
        let beside = file.with_file_name("tokenizer.model");
        if !file.exists() && beside.exists() {
            let reason = "a SentencePiece model without a tokenizer.json, which transformers writes with \
                AutoTokenizer.from_pretrained(..).save_pretrained(..)";
            return Err(Error::data(&beside, reason));
        }
        let json = fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
        let json = json.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(json);
        Self::from_json(json).map_err(|e| match e {
            Error::Tokenizer(reason) => Error::Tokenizer(format!("{}: {reason}", file.display())),
            other => other,
        })
    }

    /// Parses the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn from_json(json: impl Into<String>) -> Result<Self> {
        let json = json.into();
        match serde_json::from_str::<CharFile>(&json) {
            Ok(file) => CharTokenizer::from_file(file).map(Self::Char),
            Err(_) => BpeTokenizer::from_json(json).map(|t| Self::Bpe(Box::new(t))),
        }
    }

    /// The tokenizer of a GGUF file. It is saved as a Hugging Face `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`]: see [`Vocabulary::tokenizer_json`](super::Vocabulary::tokenizer_json).
    pub fn from_gguf(vocabulary: &super::Vocabulary) -> Result<Self> {
        Self::from_json(vocabulary.tokenizer_json()?)
    }

    /// The content of `tokenizer.json`; a loaded file is returned unchanged.
    pub fn to_json(&self) -> String {
        match self {
            Self::Char(t) => json!(t.to_file()).to_string(),
            Self::Bpe(t) => t.json().into(),
        }
    }

    /// Writes `tokenizer.json` atomically, to `path` or into it if it is a folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        atomic::write(&file_in(path), self.to_json().as_bytes())
    }

    /// A hash of the tokenizer's file, the same in every run and on every machine.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Hasher::default();
        hasher.add(self.to_json().as_bytes());
        hasher.finish()
    }

    /// One more than the largest token id.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Char(t) => t.len(),
            Self::Bpe(t) => t.len(),
        }
    }

    /// Encodes text literally: special tokens in it are treated as ordinary text. Uses all cores for long texts.
    ///
    /// # Errors
    /// [`Error::Tokenizer`]: a character tokenizer names the first unknown character and its byte position.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_at(text, 0)
    }

    /// Like [`Tokenizer::encode`], for a piece that begins at byte `start` of a text.
    pub(super) fn encode_at(&self, text: &str, start: u64) -> Result<Vec<u32>> {
        match self {
            Self::Char(t) => t.encode(text, start),
            Self::Bpe(t) => t.encode(text, false),
        }
    }

    /// Encodes text and recognises special tokens such as `<|endoftext|>` in it. For trusted text only.
    ///
    /// # Errors
    /// Returns the errors of [`Tokenizer::encode`].
    pub fn encode_special(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Char(t) => t.encode(text, 0),
            Self::Bpe(t) => t.encode(text, true),
        }
    }

    /// The text of the given tokens, including special ones. Incomplete characters become U+FFFD; see
    /// [`StreamDecoder`](super::StreamDecoder) for text that is still growing.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.token_bytes(id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that a token stands for, possibly part of a character. Empty for an id outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        match self {
            Self::Char(t) => t.char(id).map(|c| c.to_string().into_bytes()).unwrap_or_default(),
            Self::Bpe(t) => t.bytes(id).to_vec(),
        }
    }

    /// A token's text, with U+FFFD for parts of characters.
    pub fn token_text(&self, id: u32) -> String {
        self.decode(&[id])
    }

    /// The id of the token with this exact spelling in the vocabulary, such as `<|endoftext|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Char(t) => token.chars().next().filter(|c| c.len_utf8() == token.len()).and_then(|c| t.id(c)),
            Self::Bpe(t) => t.id(token),
        }
    }

    /// Like [`Tokenizer::token_id`], for special tokens only, which ordinary text never encodes to.
    pub fn special_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Char(_) => None,
            Self::Bpe(t) => t.id(token).filter(|&id| t.is_added(id)),
        }
    }

    /// Whether the tokenizer's own file specifies that `bos` is put before a text.
    pub(super) fn begins_with(&self, bos: u32) -> bool {
        match self {
            Self::Char(_) => false,
            Self::Bpe(t) => t.before().first() == Some(&bos),
        }
    }

    /// The id of the token that ends a document, [`END_OF_TEXT`] or Llama 3's, if the vocabulary has one.
    pub fn end_of_text(&self) -> Option<u32> {
        [END_OF_TEXT, "<|end_of_text|>"].iter().find_map(|token| self.token_id(token))
    }
}

fn file_in(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() }
}

/// A fast, stable content hash; not secure against forgery. FNV-1a's scheme on 8-byte words, with a final mix.
#[derive(Debug)]
pub struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    /// Adds bytes and their count, so that ("ab", "c") differs from ("a", "bc").
    pub fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|&word| self.word(u64::from_le_bytes(word)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.word(u64::from_le_bytes(last));
        self.word(bytes.len() as u64);
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// The hash of everything added.
    pub fn finish(&self) -> u64 {
        crate::random::bits(self.0, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "The quick brown fox. The quick brown dog!\n\n  天地玄黃，宇宙洪荒。天地玄黃\r\nThe end, 12 dogs' 🦀\n";

    fn bpe() -> Tokenizer {
        Tokenizer::train_bpe(std::iter::repeat_n(TEXT, 3), 310, &[END_OF_TEXT, "<|user|>"]).unwrap()
    }

    #[test]
    fn characters_round_trip_and_unknown_ones_are_named() {
        let t = Tokenizer::chars_of(["hello", "wörld"]).unwrap();
        assert_eq!((t.vocab_size(), t.decode(&[0, 1, 7])), (8, "deö".to_string()));
        assert_eq!(t.decode(&t.encode("wörld").unwrap()), "wörld");
        let again = Tokenizer::from_json(t.to_json()).unwrap();
        assert_eq!(again.fingerprint(), t.fingerprint());
        assert_eq!((again.token_id("ö"), again.token_id("x"), again.token_id("ld")), (Some(7), None, None));
        let text = t.encode("wö话").unwrap_err().to_string();
        assert!(text.contains("'话'") && text.contains("U+8BDD") && text.contains("byte 3"), "{text}");
        assert!(Tokenizer::chars_of([""]).is_err());
        assert!(Tokenizer::from_json(r#"{"type":"char","chars":"aba"}"#).is_err());
    }

    #[test]
    fn bpe_is_deterministic_and_lossless() {
        let t = bpe();
        assert_eq!(t.to_json(), bpe().to_json());
        assert_eq!(t.vocab_size(), 310);
        assert_eq!((t.end_of_text(), t.token_bytes(0), t.token_text(2)), (Some(0), END_OF_TEXT.into(), "!".into()));
        let ids = t.encode(TEXT).unwrap();
        assert!(ids.len() < TEXT.chars().count() / 2);
        assert_eq!(t.decode(&ids), TEXT);
        assert_eq!(t.decode(&t.encode("\u{0}новое слово\t").unwrap()), "\u{0}новое слово\t");
        assert!(Tokenizer::train_bpe([TEXT].into_iter(), 257, &["<a>", "<b>"]).is_err());
    }

    #[test]
    fn pieces_encode_as_the_whole() {
        let Tokenizer::Bpe(t) = bpe() else { unreachable!() };
        let text = TEXT.repeat(4);
        for size in [4, 5, 11, 40] {
            let parts: Vec<u32> =
                super::super::corpus::pieces(&text, size).flat_map(|p| t.encode(p, false).unwrap()).collect();
            assert_eq!(parts, t.encode(&text, false).unwrap(), "size {size}");
        }
    }

    #[test]
    fn special_tokens_are_parsed_only_when_asked() {
        let t = bpe();
        let text = "<|user|>The<|endoftext|>";
        let special = t.encode_special(text).unwrap();
        assert_eq!((special[0], special[special.len() - 1]), (1, 0));
        let plain = t.encode(text).unwrap();
        assert!(!plain.contains(&0) && !plain.contains(&1));
        assert_eq!((t.decode(&plain), t.decode(&special)), (text.to_string(), text.to_string()));
    }

    #[test]
    fn files_round_trip_and_foreign_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let t = bpe();
        t.save(dir.path()).unwrap();
        let again = Tokenizer::load(&dir.path().join("tokenizer.json")).unwrap();
        assert_eq!(again.to_json(), t.to_json());
        assert_eq!(again.encode(TEXT).unwrap(), t.encode(TEXT).unwrap());
        let foreign = r#"{"model":{"type":"WordPiece","vocab":{}}}"#;
        assert!(Tokenizer::from_json(foreign).unwrap_err().to_string().contains("WordPiece"));
        fs::write(dir.path().join("tokenizer.json"), "text").unwrap();
        assert!(Tokenizer::load(dir.path()).unwrap_err().to_string().contains("tokenizer.json: not JSON"));
    }

    #[test]
    fn chinese_streams_without_broken_characters() {
        let t = bpe();
        let text = "宇宙🦀洪荒，龙";
        let mut stream = super::super::StreamDecoder::new();
        let mut shown = String::new();
        for id in t.encode(text).unwrap() {
            let part = stream.push(&t, id);
            assert!(!part.contains('\u{fffd}'));
            shown += &part;
        }
        assert_eq!(shown + &stream.finish(), text);
    }
}
