//! The steps around the model in a `tokenizer.json`: which kinds are run, how much a file may make a text grow, and what it puts
//! before a text. Files are not trusted: a chain of replacements could make a terabyte of one letter.
#![expect(clippy::indexing_slicing, reason = "JSON values, which are null where something is missing")]

use serde_json::Value;

use crate::{Error, Result};

/// How many bytes the steps may make of one byte of a text. Compatibility forms can give 11, a space of SentencePiece's 3, and
/// byte-level spelling 2.
const GROWTH: u64 = 256;

/// How many bytes may be put before a text.
const ADDED_BYTES: u64 = 1024;

/// How many steps there may be of a kind, and how many tokens around a text.
const STEPS: usize = 64;
const ADDED_TOKENS: usize = 64;

fn wrong(reason: impl Into<String>) -> Error {
    Error::Tokenizer(reason.into())
}

/// What one step makes of a text: at most `factor` bytes of each byte, and `added` bytes once.
struct Size {
    factor: u64,
    added: u64,
}

const SAME: Size = Size { factor: 1, added: 0 };

/// Refuses a file with steps that wgpt does not know, or that make a text grow without measure.
///
/// # Errors
/// [`Error::Tokenizer`] naming the step.
pub(super) fn check(file: &Value) -> Result<()> {
    let (mut factor, mut added) = (1u64, 0u64);
    for (part, list, size) in [
        ("normalizer", "normalizers", normalizer as fn(&Value, &str) -> Result<Size>),
        ("pre_tokenizer", "pretokenizers", pre_tokenizer),
    ] {
        let mut steps = Vec::new();
        flatten(&file[part], part, list, &mut steps)?;
        for step in steps {
            let size = size(step, kind(step, part)?)?;
            factor = factor.saturating_mul(size.factor);
            added = added.saturating_mul(size.factor).saturating_add(size.added);
        }
        if factor > GROWTH || added > ADDED_BYTES {
            let most = format!("at most {GROWTH} times and {ADDED_BYTES} bytes are allowed");
            return Err(wrong(format!(
                "the {part} may make a text {factor} times as long and add {added} bytes; {most}"
            )));
        }
    }
    Ok(())
}

/// The ids that the file's post-processor puts before a text.
///
/// # Errors
/// [`Error::Tokenizer`] for a post-processor that wgpt does not know, or one that adds a great many tokens.
pub(super) fn prefix_ids(file: &Value) -> Result<Vec<u32>> {
    let part = "post_processor";
    let mut steps = Vec::new();
    flatten(&file[part], part, "processors", &mut steps)?;
    let (mut ids, mut count) = (Vec::new(), 0);
    for step in steps {
        let (own, all) = match kind(step, part)? {
            "ByteLevel" => (Vec::new(), 0),
            "TemplateProcessing" => template(step)?,
            "RobertaProcessing" | "BertProcessing" => (vec![id(&step["cls"][1], part)?], 2),
            other => return Err(unknown(part, other)),
        };
        count += all;
        // The tokens of a later step are around those of an earlier one.
        ids.splice(0..0, own);
    }
    match count {
        0..=ADDED_TOKENS => Ok(ids),
        _ => {
            Err(wrong(format!("the {part} puts {count} tokens around every text; at most {ADDED_TOKENS} are allowed")))
        }
    }
}

/// A step, or all those of a sequence.
fn flatten<'a>(step: &'a Value, part: &str, list: &str, steps: &mut Vec<&'a Value>) -> Result<()> {
    match (step, step[list].as_array()) {
        (Value::Null, _) => {}
        (_, Some(all)) if step["type"] == "Sequence" => {
            return all.iter().try_for_each(|step| flatten(step, part, list, steps));
        }
        _ => steps.push(step),
    }
    match steps.len() {
        0..=STEPS => Ok(()),
        count => Err(wrong(format!("the {part} has {count} steps or more; at most {STEPS} are allowed"))),
    }
}

fn kind<'a>(step: &'a Value, part: &str) -> Result<&'a str> {
    step["type"].as_str().ok_or_else(|| wrong(format!("a step of the {part} has no type")))
}

fn unknown(part: &str, kind: &str) -> Error {
    wrong(format!("the {part} has a step {kind:?}, which wgpt does not know"))
}

fn length(text: &Value) -> u64 {
    text.as_str().map_or(0, |text| text.len() as u64)
}

fn normalizer(step: &Value, kind: &str) -> Result<Size> {
    Ok(match kind {
        "NFC" | "NFD" => Size { factor: 3, added: 0 },
        "NFKC" | "NFKD" => Size { factor: 11, added: 0 },
        "Lowercase" => Size { factor: 2, added: 0 },
        "Strip" | "StripAccents" | "Nmt" => SAME,
        "ByteLevel" => Size { factor: 2, added: 0 },
        "Prepend" => Size { factor: 1, added: length(&step["prepend"]) },
        "Replace" => {
            let content = length(&step["content"]);
            match step["pattern"]["String"].as_str() {
                Some("") => return Err(wrong("the normalizer replaces the empty text")),
                Some(text) => Size { factor: content.div_ceil(text.len() as u64).max(1), added: 0 },
                // An expression may fit nothing, between any two letters.
                None => Size { factor: content + 1, added: content },
            }
        }
        other => return Err(unknown("normalizer", other)),
    })
}

fn pre_tokenizer(step: &Value, kind: &str) -> Result<Size> {
    let space = u64::from(step["add_prefix_space"] != false);
    Ok(match kind {
        // A word of one byte may get a space, and each byte takes up to two.
        "ByteLevel" => Size { factor: 2 * (1 + space), added: 0 },
        // The letter for a space takes up to four, and a word may get one.
        "Metaspace" => Size { factor: 5, added: 0 },
        "Split" | "Digits" | "Whitespace" | "WhitespaceSplit" | "Punctuation" | "UnicodeScripts" | "FixedLength" => {
            SAME
        }
        other => return Err(unknown("pre_tokenizer", other)),
    })
}

fn id(value: &Value, part: &str) -> Result<u32> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| wrong(format!("the {part} has a token without an id")))
}

/// The ids before the text in a template for one text, and the number of all that it adds.
fn template(step: &Value) -> Result<(Vec<u32>, usize)> {
    let pieces = step["single"].as_array().map_or(&[][..], Vec::as_slice);
    let (mut first, mut texts, mut count) = (Vec::new(), 0, 0);
    for piece in pieces {
        if piece["Sequence"].is_object() {
            texts += 1;
            continue;
        }
        let name = piece["SpecialToken"]["id"].as_str();
        let ids = name.and_then(|name| step["special_tokens"][name]["ids"].as_array());
        let ids = ids.ok_or_else(|| wrong(format!("the post_processor's template has a piece {piece}")))?;
        count += ids.len();
        if texts == 0 && count <= ADDED_TOKENS {
            for value in ids {
                first.push(id(value, "post_processor")?);
            }
        }
    }
    match texts {
        1 => Ok((first, count)),
        _ => Err(wrong(format!("the post_processor's template has a text {texts} times instead of once"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{check, prefix_ids};

    fn replace(content: &str) -> Value {
        json!({"type": "Replace", "pattern": {"String": "a"}, "content": content})
    }

    fn sequence(list: &str, steps: Vec<Value>) -> Value {
        json!({"type": "Sequence", list: steps})
    }

    fn template(single: Value, ids: Vec<u32>) -> Value {
        json!({"post_processor": {"type": "TemplateProcessing", "single": single,
            "special_tokens": {"<s>": {"id": "<s>", "ids": ids, "tokens": []}}}})
    }

    #[test]
    fn steps_of_models_are_allowed() {
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
        let llama = vec![json!({"type": "Prepend", "prepend": "\u{2581}"}), spaces];
        let level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        let digits = json!({"type": "Digits", "individual_digits": true});
        for file in [
            json!({}),
            json!({"normalizer": sequence("normalizers", llama)}),
            json!({"normalizer": {"type": "NFC"}, "pre_tokenizer": sequence("pretokenizers", vec![digits, level.clone()])}),
            json!({"normalizer": {"type": "NFKC"}, "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}"}}),
            json!({"post_processor": level}),
        ] {
            check(&file).and_then(|()| prefix_ids(&file)).unwrap_or_else(|error| panic!("{error}: {file}"));
        }
        let (bos, text) =
            (json!({"SpecialToken": {"id": "<s>", "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
        assert_eq!(prefix_ids(&template(json!([bos, text, bos]), vec![7])).unwrap(), [7]);
        assert!(prefix_ids(&template(json!([text, bos]), vec![7])).unwrap().is_empty());
        let inner = template(json!([bos, text]), vec![7])["post_processor"].clone();
        let roberta = json!({"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]});
        let both = json!({"post_processor": sequence("processors", vec![inner, roberta])});
        assert_eq!(prefix_ids(&both).unwrap(), [0, 7]);
    }

    #[test]
    fn steps_that_grow_without_measure_are_refused() {
        let (bos, text) =
            (json!({"SpecialToken": {"id": "<s>", "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        for (file, words) in [
            (
                json!({"normalizer": sequence("normalizers", vec![replace(&"a".repeat(10)); 15])}),
                "1000000000000000 times",
            ),
            (json!({"normalizer": sequence("normalizers", vec![replace(&"a".repeat(1000)); 60])}), "times as long"),
            (
                json!({"normalizer": sequence("normalizers", vec![sequence("normalizers", vec![replace("aaaa"); 5])])}),
                "1024 times",
            ),
            (
                json!({"normalizer": {"type": "Replace", "pattern": {"Regex": ""}, "content": "a".repeat(300)}}),
                "301 times",
            ),
            (json!({"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "a"}}), "empty text"),
            (json!({"normalizer": {"type": "Prepend", "prepend": "a".repeat(2000)}}), "add 2000 bytes"),
            (json!({"normalizer": sequence("normalizers", vec![json!({"type": "StripAccents"}); 65])}), "65 steps"),
            (json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}}), "Precompiled"),
            (json!({"normalizer": {"pattern": {"String": "a"}, "content": "b"}}), "no type"),
            (json!({"normalizer": "NFC"}), "no type"),
            (json!({"pre_tokenizer": sequence("pretokenizers", vec![level; 20])}), "1048576 times"),
            (json!({"pre_tokenizer": {"type": "BertPreTokenizer"}}), "BertPreTokenizer"),
            (template(json!([bos, text]), vec![0; 200_000]), "200000 tokens"),
            (template(json!(vec![bos; 1000]), vec![0]), "0 times instead of once"),
            (template(json!([text, text]), vec![0]), "2 times instead of once"),
            (template(json!([{"SpecialToken": {"id": "<x>", "type_id": 0}}, text]), vec![0]), "<x>"),
            (json!({"post_processor": {"type": "Other"}}), "Other"),
            (json!({"post_processor": {"type": "BertProcessing", "cls": 1}}), "without an id"),
        ] {
            let error = check(&file).and_then(|()| prefix_ids(&file)).unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
