//! Applies the automaton to the tokens of a vocabulary: which of them may come next.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::automaton::Json;
use wgpt::{infer::engine::request::Constraint, text::Tokenizer};

/// Number of masks that are cached. Inside a string the state stays the same, so a few masks serve most tokens of an
/// answer.
const KEPT: usize = 512;

/// With at least this many tokens left, any state can be completed.
const PLENTY: usize = 64;

/// The bytes that any object may need; each must be a token by itself, so that no state is a dead end.
const NEEDED: &[u8] = b"{}[]\":,0123456789abcdeflnrstu";

/// A state, and how many tokens may follow the next one.
type Place = (Json, usize);

/// The bytes of all tokens, and a cache of masks.
pub struct Vocabulary {
    bytes: Vec<u8>,
    /// Where each token ends in `bytes`.
    ends: Vec<usize>,
    /// Whether the parts of characters are tokens, so that every character can be completed.
    parts: bool,
    masks: Mutex<HashMap<Place, Arc<[u64]>>>,
}

impl Vocabulary {
    /// The tokens that text may consist of; special tokens are left out.
    ///
    /// # Errors
    /// Says which characters the vocabulary lacks for writing JSON.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, String> {
        let (mut bytes, mut ends, mut single) = (Vec::new(), Vec::new(), [false; 256]);
        for id in 0..tokenizer.vocab_size() as u32 {
            let token = tokenizer.token_bytes(id);
            let special = std::str::from_utf8(&token).is_ok_and(|name| tokenizer.special_id(name) == Some(id));
            if !special {
                bytes.extend_from_slice(&token);
            }
            if let (false, [byte]) = (special, &token[..]) {
                single[usize::from(*byte)] = true;
            }
            ends.push(bytes.len());
        }
        let lacks: Vec<char> =
            NEEDED.iter().filter(|byte| !single[usize::from(**byte)]).map(|b| char::from(*b)).collect();
        if !lacks.is_empty() {
            let lacks: String = lacks.iter().collect();
            return Err(format!("the model's vocabulary cannot write JSON: it has no tokens for {lacks}"));
        }
        let parts = (0x80..=0xbf).all(|byte| single[byte]);
        Ok(Self { bytes, ends, parts, masks: Mutex::default() })
    }

    /// The tokens that may follow `json`, one bit each, if at most `left` more tokens may come after them.
    fn allowed(&self, json: Json, left: usize) -> Arc<[u64]> {
        let left = left.min(PLENTY);
        let lock = || self.masks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(mask) = lock().get(&(json, left)) {
            return mask.clone();
        }
        let mut mask = vec![0u64; self.ends.len().div_ceil(64)];
        let mut fallback = mask.clone();
        let mut start = 0;
        for (id, &end) in self.ends.iter().enumerate() {
            let token = &self.bytes[start..end];
            start = end;
            let Some(next) = token.iter().try_fold(json, |json, byte| json.step(*byte)) else { continue };
            if token.is_empty() || !(self.parts || next.is_between_characters()) {
                continue;
            }
            fallback[id / 64] |= 1 << (id % 64);
            if left == PLENTY || next.distance() <= left {
                mask[id / 64] |= 1 << (id % 64);
            }
        }
        let possible = mask.iter().any(|word| *word != 0);
        let mask: Arc<[u64]> = if possible { mask.into() } else { fallback.into() };
        let mut masks = lock();
        if masks.len() >= KEPT {
            masks.clear();
        }
        masks.insert((json, left), mask.clone());
        mask
    }
}

/// Restricts one answer to a JSON object, and completes the object within the answer's tokens if possible.
pub struct JsonMode {
    vocabulary: Arc<Vocabulary>,
    json: Json,
    stops: Vec<u32>,
    left: usize,
}

impl JsonMode {
    /// A restriction for an answer of at most `count` tokens; after the object only `stops` are allowed.
    pub fn new(vocabulary: Arc<Vocabulary>, stops: Vec<u32>, count: usize) -> Self {
        Self { vocabulary, json: Json::default(), stops, left: count }
    }
}

impl Constraint for JsonMode {
    fn mask(&mut self, scores: &mut [f32]) {
        if self.json.is_done() {
            if !self.stops.is_empty() {
                let kept: Vec<_> = self.stops.iter().map(|&id| (id as usize, scores[id as usize])).collect();
                scores.fill(f32::NEG_INFINITY);
                kept.into_iter().for_each(|(id, score)| scores[id] = score);
            }
            return;
        }
        let mask = self.vocabulary.allowed(self.json, self.left.saturating_sub(1));
        for (id, score) in scores.iter_mut().enumerate() {
            if mask.get(id / 64).is_none_or(|word| word >> (id % 64) & 1 == 0) {
                *score = f32::NEG_INFINITY;
            }
        }
        // A model without special tokens may end its answers with a line break, which is also valid in JSON.
        self.stops.iter().for_each(|id| scores[*id as usize] = f32::NEG_INFINITY);
    }

    fn accept(&mut self, id: u32) {
        self.left = self.left.saturating_sub(1);
        let Some(&end) = self.vocabulary.ends.get(id as usize) else { return };
        let start = (id as usize).checked_sub(1).map_or(0, |before| self.vocabulary.ends[before]);
        let token = &self.vocabulary.bytes[start..end];
        // The only masked tokens that can be chosen are stops, which do not change the state.
        self.json = token.iter().try_fold(self.json, |json, byte| json.step(*byte)).unwrap_or(self.json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::random;

    /// Tokens drawn from the masks form valid JSON within the budget, whatever the scores.
    #[test]
    fn whatever_is_drawn_is_valid_json() {
        let text = r#"{"name": "a", "list": [1, 2, true], "é": "床前"}, {"x": null}}]}"#;
        let bpe = Tokenizer::train_bpe(std::iter::repeat_n(text, 4), 320, &["<|im_end|>"]).unwrap();
        let vocabulary = Arc::new(Vocabulary::new(&bpe).unwrap());
        for seed in 0..60u64 {
            let count = 2 + seed as usize * 2;
            let mut mode = JsonMode::new(vocabulary.clone(), vec![0], count);
            let (mut bytes, mut ended) = (Vec::new(), false);
            for step in 0..count as u64 {
                let mut scores: Vec<f32> =
                    (0..bpe.vocab_size() as u64).map(|id| random::uniform(seed, step, id) as f32).collect();
                mode.mask(&mut scores);
                let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).expect("a token");
                assert!(scores[best].is_finite(), "no token may follow {:?}", String::from_utf8_lossy(&bytes));
                if best == 0 {
                    ended = true;
                    break;
                }
                mode.accept(best as u32);
                bytes.extend(bpe.token_bytes(best as u32));
            }
            let value = serde_json::from_slice::<serde_json::Value>(&bytes);
            assert!(value.is_ok_and(|value| value.is_object()), "{count}: {:?}", String::from_utf8_lossy(&bytes));
            assert!(ended || mode.left == 0);
        }
    }

    #[test]
    fn a_stop_that_json_has_too_does_not_come_early() {
        let chars = Tokenizer::chars_of(["{}[]\":,0123456789abcdeflnrstu \n"]).unwrap();
        let newline = chars.token_id("\n").unwrap();
        let mut mode = JsonMode::new(Arc::new(Vocabulary::new(&chars).unwrap()), vec![newline], 9);
        mode.accept(chars.token_id("{").unwrap());
        let allows = |mode: &mut JsonMode, token: &str| {
            let mut scores = vec![0.0; chars.vocab_size()];
            mode.mask(&mut scores);
            scores[chars.token_id(token).unwrap() as usize] == 0.0
        };
        assert!(!allows(&mut mode, "\n") && allows(&mut mode, " ") && allows(&mut mode, "}"));
        mode.accept(chars.token_id("}").unwrap());
        assert!(allows(&mut mode, "\n") && !allows(&mut mode, "}"));
    }

    #[test]
    fn vocabularies_that_cannot_write_json_are_told() {
        let chars = Tokenizer::chars_of(["{}[]:,0123456789abcdeflnrstu"]).unwrap();
        assert!(Vocabulary::new(&chars).err().is_some_and(|lacks| lacks.ends_with("for \"")));
        let chars = Tokenizer::chars_of(["{}[]\":,0123456789abcdeflnrstu é"]).unwrap();
        assert!(!Vocabulary::new(&chars).unwrap().parts);
    }
}
