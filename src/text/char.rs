//! One token per character, as in nanoGPT's character-level example.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const UNKNOWN: u32 = u32::MAX;

/// The content of a character tokenizer's file.
#[derive(Serialize, Deserialize)]
pub(super) struct CharFile {
    #[serde(rename = "type")]
    kind: Kind,
    version: u32,
    chars: String,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "char")]
    Char,
}

/// The characters of a text; a character's index is its token id.
#[derive(Clone, Debug)]
pub struct CharTokenizer {
    chars: Vec<char>,
    /// Token id by code point, [`UNKNOWN`] for characters that are not in the vocabulary.
    ids: Vec<u32>,
}

impl CharTokenizer {
    /// The sorted, distinct characters of some texts.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the texts have no characters.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut seen = [false; 128];
        let mut others = BTreeSet::new();
        for c in texts.into_iter().flat_map(str::chars) {
            match seen.get_mut(c as usize) {
                Some(flag) => *flag = true,
                None => drop(others.insert(c)),
            }
        }
        let ascii = (0..128u8).zip(seen).filter(|(_, seen)| *seen).map(|(byte, _)| char::from(byte));
        Self::from_chars(ascii.chain(others.iter().copied()).collect())
    }

    fn from_chars(chars: Vec<char>) -> Result<Self> {
        let last = chars.iter().max().ok_or_else(|| Error::Tokenizer("there are no characters".into()))?;
        let mut ids = vec![UNKNOWN; *last as usize + 1];
        for (id, &c) in chars.iter().enumerate() {
            // The last character has the largest number.
            let Some(entry) = ids.get_mut(c as usize) else { continue };
            if *entry != UNKNOWN {
                return Err(Error::Tokenizer(format!("the character {c:?} comes twice")));
            }
            *entry = id as u32;
        }
        Ok(Self { chars, ids })
    }

    pub(super) fn from_file(file: CharFile) -> Result<Self> {
        Self::from_chars(file.chars.chars().collect())
    }

    pub(super) fn to_file(&self) -> CharFile {
        CharFile { kind: Kind::Char, version: 1, chars: self.chars.iter().collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.chars.len()
    }

    pub(super) fn char(&self, id: u32) -> Option<char> {
        self.chars.get(id as usize).copied()
    }

    pub(super) fn id(&self, c: char) -> Option<u32> {
        self.ids.get(c as usize).copied().filter(|&id| id != UNKNOWN)
    }

    /// `start` is the position of `text` in its file, used in error messages.
    pub(super) fn encode(&self, text: &str, start: u64) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len());
        for (offset, c) in text.char_indices() {
            ids.push(self.id(c).ok_or_else(|| {
                let (code, at) = (c as u32, start + offset as u64);
                Error::Tokenizer(format!(
                    "the character {c:?} (U+{code:04X}) at byte {at} is not among this tokenizer's {} characters; remove it, or use a BPE tokenizer",
                    self.chars.len()
                ))
            })?);
        }
        Ok(ids)
    }
}
