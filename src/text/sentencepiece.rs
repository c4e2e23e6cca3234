//! Converts SentencePiece BPE ("llama" in GGUF files) to a Hugging Face file.
//!
//! SentencePiece has token scores instead of merges: among all neighbouring pairs that form a token, it merges the pair
//! that forms the token with the best score. As in Hugging Face's converters, every way to form a token from two others
//! becomes a merge, in order of the scores.

use std::{cmp::Reverse, collections::HashMap};

use serde_json::{Value, json};

use super::vocabulary::{Vocabulary, kind};
use crate::{Error, Result};

/// The character that represents a space.
pub(super) const SPACE: char = '\u{2581}';

/// Length in bytes of the longest token for which merges are searched; real tokens have up to about 50.
const LONGEST: usize = 1024;

/// The byte represented by a token such as `<0x0A>`.
pub(super) fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>').filter(|d| d.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// The file without its vocabulary and added tokens.
pub(super) fn file(vocabulary: &Vocabulary, ids: &HashMap<&str, u32>) -> Result<Value> {
    if vocabulary.scores.is_empty() {
        return Err(Error::Tokenizer("a SentencePiece vocabulary needs scores".into()));
    }
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let unknown =
        vocabulary.unknown.or_else(|| (0..).zip(&vocabulary.kinds).find(|k| *k.1 == kind::UNKNOWN).map(|k| k.0));
    let unknown = unknown.and_then(|id| vocabulary.tokens.get(id as usize));
    Ok(json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "unk_token": unknown, "fuse_unk": true,
            "byte_fallback": (0..=255u8).all(|b| ids.contains_key(format!("<0x{b:02X}>").as_str())),
            "merges": merges(vocabulary, ids)?},
    }))
}

/// Every (left, right) that forms a token, best first; among those that form the same token, the longest left part
/// first.
fn merges<'a>(vocabulary: &Vocabulary, ids: &HashMap<&'a str, u32>) -> Result<Vec<(&'a str, &'a str)>> {
    let merged = |id| !matches!(vocabulary.kind(id), kind::UNKNOWN | kind::CONTROL | kind::BYTE);
    let mut found = Vec::new();
    for (&token, &id) in ids.iter().filter(|(token, id)| merged(**id) && byte(token).is_none()) {
        if token.len() > LONGEST {
            return Err(Error::Tokenizer(format!("token {id} has {} bytes; at most {LONGEST} are read", token.len())));
        }
        let score = vocabulary.scores.get(id as usize).copied().filter(|score| score.is_finite());
        let score = score.ok_or_else(|| Error::Tokenizer(format!("the score of token {id} is no number")))?;
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if [left, right].iter().all(|part| ids.get(part).is_some_and(|&id| merged(id))) {
                found.push((score, id, left, right));
            }
        }
    }
    found.sort_unstable_by(|a, b| {
        b.0.total_cmp(&a.0).then_with(|| (a.1, Reverse(a.2.len())).cmp(&(b.1, Reverse(b.2.len()))))
    });
    Ok(found.into_iter().map(|(_, _, left, right)| (left, right)).collect())
}
