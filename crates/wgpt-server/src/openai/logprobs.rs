//! Log-probabilities in OpenAI's two forms.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{app::ServedModel, pieces::list};
use wgpt::{
    infer::{engine::request::TokenEvent, sampler::Candidate},
    text::Tokenizer,
};

/// Tokens that are written at a time.
const PIECE: usize = 64;

/// JSON has no minus infinity; for impossible tokens this returns the number that OpenAI uses.
pub fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// `{"token", "logprob", "bytes"}`, with the token's id if `ids`.
fn entry(tokenizer: &Tokenizer, candidate: &Candidate, ids: bool) -> Value {
    let mut entry = json!({
        "token": tokenizer.token_text(candidate.id), "logprob": finite(candidate.logprob),
        "bytes": tokenizer.token_bytes(candidate.id),
    });
    if ids {
        entry["id"] = candidate.id.into();
    }
    entry
}

/// `{"content": [..]}`: the format of chat completions.
pub fn chat(tokenizer: &Tokenizer, tokens: &[TokenEvent], ids: bool) -> Value {
    let tokens: Vec<_> = tokens.iter().map(|told| of_token(tokenizer, told, ids)).collect();
    json!({ "content": tokens, "refusal": null })
}

/// A token's entry, which contains the entries of the likeliest tokens in its place.
fn of_token(tokenizer: &Tokenizer, told: &TokenEvent, ids: bool) -> Value {
    let mut token = entry(tokenizer, &told.chosen, ids);
    token["top_logprobs"] = told.top.iter().map(|candidate| entry(tokenizer, candidate, ids)).collect();
    token
}

/// [`chat`] as text, a few tokens at a time.
pub fn pieces(model: Arc<ServedModel>, tokens: Vec<TokenEvent>, ids: bool) -> impl Iterator<Item = String> {
    let entries = list(tokens, PIECE, move |told| of_token(&model.codec.tokenizer, &told, ids));
    let begin = std::iter::once("{\"content\":[".to_string());
    begin.chain(entries).chain(std::iter::once("],\"refusal\":null}".to_string()))
}

/// Four lists: the format of completions. `offset` is the position in characters where the next token begins, and is
/// advanced.
pub fn completion(tokenizer: &Tokenizer, tokens: &[TokenEvent], offset: &mut usize) -> Value {
    let (mut texts, mut logprobs, mut tops, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for told in tokens {
        let text = tokenizer.token_text(told.chosen.id);
        offsets.push(*offset);
        *offset += text.chars().count();
        texts.push(text);
        logprobs.push(finite(told.chosen.logprob));
        let top = told.top.iter().map(|other| (tokenizer.token_text(other.id), json!(finite(other.logprob))));
        tops.push(Value::Object(top.collect::<Map<_, _>>()));
    }
    json!({ "tokens": texts, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::interchange::TextCodec;

    #[test]
    fn pieces_are_the_same_text() {
        let chars = Tokenizer::chars_of(["ab"]).unwrap();
        let model = Arc::new(ServedModel::new("m".into(), None, TextCodec::plain(chars)));
        let told = |id: usize| {
            let candidate = |id| Candidate { id, logprob: -0.5 };
            TokenEvent { chosen: candidate(id as u32 % 2), top: vec![candidate(1)] }
        };
        for count in [0, 1, PIECE, 2 * PIECE + 3] {
            let tokens: Vec<_> = (0..count).map(told).collect();
            let whole = chat(&model.codec.tokenizer, &tokens, true);
            let text: Vec<_> = pieces(model.clone(), tokens, true).collect();
            assert_eq!(serde_json::from_str::<Value>(&text.concat()).unwrap(), whole);
            assert_eq!(text.len(), 2 + count.div_ceil(PIECE));
        }
    }

    #[test]
    fn both_forms_tell_the_same() {
        let chars = Tokenizer::chars_of(["abé"]).unwrap();
        let candidate = |id, logprob| Candidate { id, logprob };
        let told = |id| TokenEvent {
            chosen: candidate(id, -0.5),
            top: vec![candidate(id, -0.5), candidate(0, f32::NEG_INFINITY)],
        };
        let form = chat(&chars, &[told(2)], true);
        let first = &form["content"][0];
        assert_eq!((&first["token"], &first["bytes"], &first["id"]), (&json!("é"), &json!([0xc3, 0xa9]), &json!(2)));
        assert_eq!(first["top_logprobs"][1]["logprob"], json!(-9999.0));
        assert!(chat(&chars, &[told(2)], false)["content"][0].get("id").is_none());
        let mut offset = 3;
        let form = completion(&chars, &[told(2), told(1)], &mut offset);
        assert_eq!((&form["text_offset"], offset), (&json!([3, 4]), 5));
        assert_eq!((&form["tokens"], &form["top_logprobs"][1]["a"]), (&json!(["é", "b"]), &json!(-9999.0)));
    }
}
