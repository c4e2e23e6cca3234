//! How byte-level vocabularies of GGUF files split a text into words, by the name in `tokenizer.ggml.pre`.
//!
//! The expressions are those of the models' own `tokenizer.json` where they are known, otherwise those of llama.cpp's
//! `llama-vocab.cpp`. Each expression of a list splits what the previous ones left; matches become words of their own.
#![expect(clippy::indexing_slicing, reason = "JSON values, which are null where something is missing")]

use serde_json::Value;

use crate::{Error, Result};

/// A way of splitting text into words.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreTokenizer {
    /// Regular expressions, applied one after the other.
    pub splits: &'static [&'static str],
    /// Whether a word that is in the vocabulary becomes one token regardless of the merges.
    pub whole_words: bool,
    /// Whether a text begins with the bos token if the file does not say.
    pub adds_bos: bool,
}

const DIGIT: &str = r"\p{N}";
const UP_TO_THREE_DIGITS: &str = r"\p{N}{1,3}";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const KANA_AND_HAN: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";
/// Qwen2's without its contractions.
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Llama 3's, with runs of white space cut at powers of two.
const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const MINICPM5: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
/// GPT-4o's with single digits.
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const YOUTU_SCRIPTS: &str = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-\u{303f}︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+";
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Letters with a case, as the model's file lists them.
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK_PUNCTUATION: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"];

/// Groups of equivalent names, and the pre-tokenizer they refer to.
const KNOWN: &[(&[&str], PreTokenizer)] = &[
    (&["default", ""], plain(DEFAULT)),
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "granite-docling",
        ],
        plain(&[GPT2]),
    ),
    (
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        plain(&[DIGIT, GPT2]),
    ),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        PreTokenizer { splits: &[LLAMA3], whole_words: true, adds_bos: true },
    ),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], plain(&[LLAMA3])),
    (&["glm4", "glm5"], whole(&[LLAMA3])),
    (&["jais-2"], plain(&[JAIS2])),
    (
        &["qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2", "f2llmv2"],
        plain(&[QWEN2]),
    ),
    (&["qwen35"], plain(&[QWEN35])),
    (&["laguna"], plain(&[r"[^\n]+|[\n]+", QWEN2])),
    (&["ufakzeka"], plain(&[UFAKZEKA])),
    (&["seed-coder"], plain(&[SEED_CODER])),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], plain(&[BAILING])),
    (&["exaone-moe"], plain(&[EXAONE_MOE])),
    (&["minicpm5"], whole(&[UP_TO_THREE_DIGITS, MINICPM5])),
    (&["tekken"], PreTokenizer { splits: &[TEKKEN], whole_words: true, adds_bos: true }),
    (&["gpt-4o", "llama4", "kanana2", "minimax-m2", "talkie"], plain(&[GPT4O])),
    (&["tiny_aya", "cohere2moe"], plain(&[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O])),
    (&["youtu"], whole(&[YOUTU_SCRIPTS, YOUTU])),
    (&["superbpe"], plain(&[r"\p{N}+", r"(?=(\d{3})+(?!\d))"])),
    (&["bloom", "poro-chat", "gpt3-finnish"], plain(&[BLOOM])),
    (&["viking"], plain(&[BLOOM, DIGIT])),
    (&["falcon"], plain(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"])),
    (&["deepseek-coder"], plain(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\u{d7ff}]+", DIGIT])),
    (
        &["deepseek-llm"],
        plain(&[r"[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, r"\s+$", "[一-龥ࠀ-一가-\u{d7ff}]+", r"\p{N}+"]),
    ),
    (&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], plain(&[UP_TO_THREE_DIGITS, KANA_AND_HAN, DEEPSEEK3])),
    (&["spark2_5"], plain(&[UP_TO_THREE_DIGITS, KANA_AND_HAN, SPARK, DIGIT])),
];

const fn plain(splits: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { splits, whole_words: false, adds_bos: false }
}

/// The same for a vocabulary whose words need no merges.
const fn whole(splits: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer { splits, whole_words: true, adds_bos: false }
}

/// The pre-tokenizer with this name.
///
/// # Errors
/// [`Error::Tokenizer`] listing the known names.
pub(super) fn named(name: &str) -> Result<PreTokenizer> {
    KNOWN.iter().find(|(names, _)| names.contains(&name)).map(|(_, found)| *found).ok_or_else(|| {
        let known: Vec<_> = KNOWN.iter().flat_map(|(names, _)| *names).copied().filter(|n| !n.is_empty()).collect();
        Error::Tokenizer(format!("the pre-tokenizer {name:?} is not known; known are {}", known.join(", ")))
    })
}

/// The name of the way a byte-level `tokenizer.json` splits a text into words.
///
/// # Errors
/// [`Error::Tokenizer`] if there is no name for it.
pub fn name_of(file: &Value) -> Result<&'static str> {
    let cutter = &file["pre_tokenizer"];
    let all = cutter["pretokenizers"].as_array().map_or(std::slice::from_ref(cutter), Vec::as_slice);
    let whole_words = file["model"]["ignore_merges"] == true;
    let splits: Option<Vec<_>> = all.iter().map(split).collect();
    let same = |splits: &[&str]| {
        KNOWN
            .iter()
            .find(|(_, known)| known.splits == splits && known.whole_words == whole_words)
            .map(|(names, _)| names[0])
    };
    let level = all.last().is_some_and(|step| step["type"] == "ByteLevel");
    let found = splits.filter(|_| level).map(|splits| splits.into_iter().flatten().collect::<Vec<_>>());
    let name = found
        .and_then(|splits| same(&splits))
        .ok_or_else(|| Error::Tokenizer(format!("GGUF has no name for this way to cut words: {cutter}")))?;
    match &file["normalizer"] {
        Value::Null => Ok(name),
        // llama.cpp leaves the normalisation of Qwen's texts to its callers.
        normalizer if name == "qwen2" && normalizer["type"] == "NFC" => Ok(name),
        normalizer => Err(Error::Tokenizer(format!("GGUF files do not say that texts are normalised: {normalizer}"))),
    }
}

/// The expression of one step: `Some(None)` for a step that splits nothing, [`None`] for a step that GGUF cannot
/// express.
fn split(step: &Value) -> Option<Option<&str>> {
    match step["type"].as_str()? {
        "ByteLevel" if step["add_prefix_space"] != false => None,
        "ByteLevel" => Some((step["use_regex"] != false).then_some(GPT2)),
        "Digits" if step["individual_digits"] == true => Some(Some(DIGIT)),
        "Split" if step["behavior"] == "Isolated" && step["invert"] != true => {
            step["pattern"]["Regex"].as_str().map(Some)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::name_of;

    #[test]
    fn the_ways_of_known_models_have_names() {
        let level = |words: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": words});
        let file = |steps: serde_json::Value, whole: bool| json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "model": {"ignore_merges": whole}});
        let cut = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        assert_eq!(name_of(&json!({"pre_tokenizer": level(true)})).unwrap(), "gpt-2");
        let digits = json!({"type": "Digits", "individual_digits": true});
        assert_eq!(name_of(&file(json!([digits, level(true)]), false)).unwrap(), "smollm");
        assert_eq!(name_of(&file(json!([cut(super::LLAMA3), level(false)]), true)).unwrap(), "llama-bpe");
        let mut qwen = file(json!([cut(super::QWEN2), level(false)]), false);
        qwen["normalizer"] = json!({"type": "NFC"});
        assert_eq!(name_of(&qwen).unwrap(), "qwen2");
        qwen["normalizer"] = json!({"type": "Lowercase"});
        assert!(name_of(&qwen).unwrap_err().to_string().contains("Lowercase"));
        assert!(name_of(&file(json!([cut("a+"), level(false)]), false)).unwrap_err().to_string().contains("a+"));
        assert!(name_of(&json!({"pre_tokenizer": {"type": "Metaspace"}})).is_err());
    }
}
