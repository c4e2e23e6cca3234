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

/// Texts that pre-tokenizers cut as the models' own files say and llama.cpp does not, for it has no `\p{M}` and `\p{Lu}`, takes
/// only ASCII for `\d` and `\s`, and reads `\b` in another way.
const BESIDE_LLAMA_CPP: &[(&str, &[&str])] = &[
    ("tekken", &["हि"]),
    ("gpt-4o", &["हि"]),
    ("tiny_aya", &["x1234y", "漢字かな"]),
    ("deepseek-coder", &["\u{2003}em"]),
    ("deepseek-llm", &["\u{2003}em"]),
    ("superbpe", &["२०२४"]),
];

fn byte_level(f: &PreTokenizers, pre: &str) -> wgpt::Result<Tokenizer> {
    Tokenizer::from_gguf(&Vocabulary {
        model: "gpt2".into(),
        pre: pre.into(),
        tokens: f.tokens.clone(),
        kinds: f.kinds.clone(),
        merges: f.merges.clone(),
        ..Default::default()
    })
}

#[test]
fn words_are_cut_as_llama_cpp_cuts_them() {
    let f: PreTokenizers = fixture("pretokenizers.json");
    let mut wrong = Vec::new();
    for (pre, all) in &f.ids {
        let tokenizer = byte_level(&f, pre).expect("a good vocabulary");
        assert_eq!(all.len(), f.texts.len(), "{pre}");
        for (text, ids) in f.texts.iter().zip(all) {
            let beside = BESIDE_LLAMA_CPP.iter().find(|(name, _)| name == pre).map_or(&[][..], |(_, parts)| parts);
            assert_eq!(&tokenizer.decode(ids), text, "{pre}");
            let found = tokenizer.encode_special(text).expect("any text");
            if beside.iter().any(|part| text.contains(part)) == (found == *ids) {
                let spell = |ids: &[u32]| ids.iter().map(|&id| tokenizer.token_text(id)).collect::<Vec<_>>();
                wrong.push(format!("{pre}, {text:?}: {:?} and llama.cpp's {:?}", spell(&found), spell(ids)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} texts:\n{}", wrong.len(), wrong.join("\n"));
}

/// The names that llama.cpp knows beside those with ids in the fixture: other names of the same, and those that wgpt refuses,
/// since they are of vocabularies that are not byte-level, of models it does not run, or not described by expressions.
#[test]
fn pre_tokenizers_are_known_or_refused_by_name() {
    let f: PreTokenizers = fixture("pretokenizers.json");
    let same = [
        ("gpt-2", "phi-2 gigachat a.x-4.0 mellum mpt olmo jais exaone4 trillion granite-docling"),
        ("smollm", "codeshell exaone minerva-7b mellum2"),
        ("llama-bpe", "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"),
        ("dbrx", "smaug-bpe chatglm-bpe"),
        ("glm4", "glm5"),
        ("qwen2", "deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2"),
        ("gpt-4o", "llama4 kanana2 talkie minimax-m2"),
        ("tiny_aya", "cohere2moe"),
        ("deepseek-v3", "joyai-llm hy_v4 hunyuan-dense"),
        ("bloom", "poro-chat gpt3-finnish"),
        ("bailingmoe", "bailingmoe2 llada-moe"),
        ("default", ""),
    ];
    for (one, others) in same {
        let first = byte_level(&f, one).expect("known");
        for other in others.split(' ') {
            let tokenizer = byte_level(&f, other).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(tokenizer.to_json(), first.to_json(), "{other} and {one}");
        }
    }
    let refused = "afmoe chameleon gemma4 granite-embed-multi-311m granite-embed-multi-97m jina-de jina-es jina-v1-en \
                   jina-v2-code jina-v2-de jina-v2-es kimi-k2 mmbert modern-bert roberta-bpe sarvam-moe whitespace";
    for name in refused.split_whitespace() {
        let error = byte_level(&f, name).expect_err(name).to_string();
        assert!(error.contains(&format!("the pre-tokenizer {name:?} is not known")), "{error}");
    }
}

/// Runs if WGPT_LLAMA_CPP names a folder with llama.cpp's sources, whose `models` have vocabularies of well-known models,
/// texts, and the ids of these.
#[test]
fn vocabularies_of_models_encode_as_in_llama_cpp() {
    let Some(folder) = std::env::var_os("WGPT_LLAMA_CPP") else {
        eprintln!("skipped: WGPT_LLAMA_CPP does not name llama.cpp's sources");
        return;
    };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for entry in std::fs::read_dir(Path::new(&folder).join("models")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let beside = |end: &str| std::fs::read_to_string(format!("{}.{end}", path.display()));
        let (Ok(texts), Ok(ids)) = (beside("inp"), beside("out")) else { continue };
        let file = GgufFile::open(&path).expect("a GGUF file");
        let tokenizer = match wgpt::interchange::gguf::tokenizer(&file) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                continue;
            }
        };
        let texts = texts.split("\n__ggml_vocab_test__\n");
        for (text, line) in texts.zip(ids.lines()) {
            let ids: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
            let found = tokenizer.encode(text).expect("any text");
            count += 1;
            if found != ids {
                wrong.push(format!("{}, {text:?}: {found:?} instead of {ids:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count} texts:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{count} texts");
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
