//! Token ids and rendered chats, compared with llama.cpp, SentencePiece, tokenizers and transformers
//! (scripts/fixtures/make_token_fixtures.py).

use std::{path::Path, time::Instant};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use wgpt::{
    formats::gguf::GgufFile,
    text::{Conventions, Message, Tokenizer, Vocabulary},
};

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/tokens").join(name);
    let content = std::fs::read_to_string(path).expect("the fixture is there");
    serde_json::from_str(&content).expect("the fixture has this shape")
}

/// Checks the ids; the message of a failure shows the ids and their text.
fn check(tokenizer: &Tokenizer, text: &str, ids: &[u32], wanted: &[u32], what: &str) {
    let spell = |ids: &[u32]| ids.iter().map(|&id| tokenizer.token_text(id)).collect::<Vec<_>>();
    assert_eq!(ids, wanted, "{what}, {text:?}: {:?} instead of {:?}", spell(ids), spell(wanted));
}

#[derive(Deserialize)]
struct PreTokenizers {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
    texts: Vec<String>,
    ids: std::collections::BTreeMap<String, Vec<Vec<u32>>>,
}

/// Pre-tokenizers for which llama.cpp's expressions differ from the models' own files: it has no `\p{M}` and `\p{Lu}` in
/// the first two, and excludes non-ASCII white space from the ranges of the third.
const BESIDE_LLAMA_CPP: &[(&str, &str)] = &[("tekken", "हिन्दी"), ("gpt-4o", "हिन्दी"), ("deepseek-coder", "\u{2003}em")];

#[test]
fn words_are_cut_as_llama_cpp_cuts_them() {
    let f: PreTokenizers = fixture("pretokenizers.json");
    for (pre, all) in &f.ids {
        let vocabulary = Vocabulary {
            model: "gpt2".into(),
            pre: pre.clone(),
            tokens: f.tokens.clone(),
            kinds: f.kinds.clone(),
            merges: f.merges.clone(),
            ..Default::default()
        };
        let tokenizer = Tokenizer::from_gguf(&vocabulary).expect("a good vocabulary");
        for (text, ids) in f.texts.iter().zip(all) {
            if BESIDE_LLAMA_CPP.iter().any(|(name, part)| name == pre && text.contains(part)) {
                continue;
            }
            check(&tokenizer, text, &tokenizer.encode_special(text).expect("any text"), ids, pre);
            assert_eq!(&tokenizer.decode(ids), text, "{pre}");
        }
    }
}

#[derive(Deserialize)]
struct SentencePiece {
    tokens: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<i32>,
    cases: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    special: Vec<u32>,
}

#[test]
fn sentencepiece_vocabularies_encode_as_in_llama_cpp() {
    let f: SentencePiece = fixture("sentencepiece.json");
    let model = "llama".to_string();
    let vocabulary = Vocabulary { model, tokens: f.tokens, scores: f.scores, kinds: f.kinds, ..Default::default() };
    let tokenizer = Tokenizer::from_gguf(&vocabulary).expect("a good vocabulary");
    let again = Tokenizer::from_json(tokenizer.to_json()).expect("our own file");
    for Sentence { text, special } in &f.cases {
        check(&tokenizer, text, &tokenizer.encode_special(text).expect("any text"), special, "llama");
        assert_eq!(again.encode_special(text).expect("any text"), *special);
        let plain = tokenizer.decode(&tokenizer.encode(text).expect("any text"));
        assert!(text.is_empty() || plain == format!(" {text}") || text.contains("<|im"), "{plain:?}");
    }
}

#[derive(Deserialize)]
struct Metaspace {
    tokenizer: Value,
    cases: Vec<Ids>,
}

#[derive(Deserialize)]
struct Ids {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn metaspace_files_load() {
    let f: Metaspace = fixture("metaspace.json");
    let tokenizer = Tokenizer::from_json(f.tokenizer.to_string()).expect("a good file");
    for Ids { text, ids } in &f.cases {
        check(&tokenizer, text, &tokenizer.encode_special(text).expect("any text"), ids, "metaspace");
        // A text that begins with a space gets no second one.
        assert_eq!(tokenizer.decode(ids).trim_start_matches(' '), text.trim_start_matches(' '));
    }
}

#[derive(Deserialize)]
struct SmolLm2 {
    cases: Vec<Case>,
    chats: Vec<Chat>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    plain: Vec<u32>,
    special: Vec<u32>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Turn>,
    prompt: bool,
    text: String,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

fn vocabulary(path: &Path) -> wgpt::Result<Vocabulary> {
    let file = GgufFile::open(path)?;
    let metadata = file.metadata();
    let list = |key| Ok::<_, wgpt::Error>(metadata.get::<&[String]>(key)?.unwrap_or_default().to_vec());
    Ok(Vocabulary {
        model: metadata.require::<&str>("tokenizer.ggml.model")?.into(),
        pre: metadata.get::<&str>("tokenizer.ggml.pre")?.unwrap_or_default().into(),
        tokens: list("tokenizer.ggml.tokens")?,
        kinds: metadata.get::<std::borrow::Cow<[i32]>>("tokenizer.ggml.token_type")?.unwrap_or_default().into_owned(),
        merges: list("tokenizer.ggml.merges")?,
        bos: metadata.get("tokenizer.ggml.bos_token_id")?,
        eos: metadata.get("tokenizer.ggml.eos_token_id")?,
        add_bos: metadata.get("tokenizer.ggml.add_bos_token")?,
        chat_template: metadata.get::<&str>("tokenizer.chat_template")?.map(str::to_string),
        ..Default::default()
    })
}

/// Runs if WGPT_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf, as in scripts/test.
#[test]
fn smollm2_encodes_as_in_llama_cpp() {
    let Some(path) = std::env::var_os("WGPT_SMOLLM2") else {
        eprintln!("skipped: WGPT_SMOLLM2 does not name the model");
        return;
    };
    let vocabulary = vocabulary(Path::new(&path)).expect("the file is whole");
    let start = Instant::now();
    let tokenizer = Tokenizer::from_gguf(&vocabulary).expect("a good vocabulary");
    eprintln!("tokenizer built in {:?}", start.elapsed());
    let f: SmolLm2 = fixture("smollm2.json");
    for Case { text, plain, special } in &f.cases {
        check(&tokenizer, text, &tokenizer.encode(text).expect("any text"), plain, "plain");
        check(&tokenizer, text, &tokenizer.encode_special(text).expect("any text"), special, "special");
        assert_eq!((&tokenizer.decode(plain), &tokenizer.decode(special)), (text, text));
    }
    let conventions = Conventions::of_gguf(&vocabulary, &tokenizer);
    assert_eq!((conventions.eos, conventions.stops.as_slice()), (Some(2), &[0, 2][..]));
    let template = conventions.chat(&tokenizer).expect("its template");
    for chat in &f.chats {
        let messages: Vec<_> = chat.messages.iter().map(|t| Message::new(&t.role, &t.content)).collect();
        assert_eq!(template.render(&messages, chat.prompt).expect("a good conversation"), chat.text);
    }
    let text: String = f.cases.iter().map(|c| c.text.as_str()).collect::<Vec<_>>().join(" ");
    let text = text.repeat((1 << 20) / text.len() + 1);
    let start = Instant::now();
    let ids = tokenizer.encode(&text).expect("any text");
    eprintln!("{} bytes, {} tokens in {:?}", text.len(), ids.len(), start.elapsed());
    assert_eq!(tokenizer.decode(&ids), text);
}
