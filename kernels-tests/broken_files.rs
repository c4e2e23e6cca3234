//! Files that are truncated, corrupted or absurd give typed errors: no panic, no hang, no allocation without bytes.

use std::{fs, path::Path};

use wgpt::{
    Error,
    formats::GgufFile,
    interchange,
    io::tensors::{self, NamedTensor, TensorFile},
    text::Tokenizer,
};

use crate::gguf::fixture;

/// Opens a file's content and uses all of it, as the program would.
fn read_gguf(bytes: &[u8]) -> Result<(), Error> {
    let file = GgufFile::parse(Path::new("some.gguf"), bytes)?;
    for name in file.names() {
        assert_eq!(file.rows(name)?.to_f32().len(), file.shape(name)?.iter().product::<usize>());
    }
    Ok(())
}

fn read_safetensors(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).expect("a temporary file");
    let file = TensorFile::open(path)?;
    for name in file.names() {
        match file.to_f32(&name) {
            Ok(values) => assert_eq!(values.len(), file.shape(&name)?.iter().product::<usize>()),
            Err(error) => assert!(matches!(error, Error::Checkpoint { .. }), "{error}"),
        }
    }
    Ok(())
}

fn refused(result: Result<(), Error>, what: &str) -> String {
    match result {
        Err(error @ Error::Checkpoint { .. }) => error.to_string(),
        Err(error) => panic!("{what}: {error} is not about a checkpoint"),
        Ok(()) => panic!("{what} was read"),
    }
}

/// Accepts success or an error about the file; anything else fails.
fn survives(result: Result<(), Error>, what: &str) {
    if let Err(error) = result {
        assert!(matches!(error, Error::Checkpoint { .. }), "{what}: {error}");
    }
}

/// Where files are cut: at every byte of the header, then every 4 KiB.
fn cuts(header: usize, length: usize) -> impl Iterator<Item = usize> {
    (0..header).chain((header..length).step_by(4096))
}

/// Replacements for a byte: its top bit flipped, all bits inverted, 0, and the next value.
fn corruptions(byte: u8) -> [u8; 4] {
    [byte ^ 0x80, !byte, 0, byte.wrapping_add(1)]
}

#[test]
fn gguf_truncated_or_corrupted() {
    for name in ["metadata.gguf", "blocks.gguf"] {
        let whole = fs::read(fixture(name)).expect("the fixture");
        read_gguf(&whole).expect("the fixture is sound");
        // The start of the first tensor's content is close enough to the end of the header.
        let header = if name == "metadata.gguf" { whole.len() - 128 } else { 2048 };
        for cut in cuts(header, whole.len()) {
            refused(read_gguf(&whole[..cut]), &format!("{name} cut after {cut} bytes"));
        }
        for at in 0..header {
            for byte in corruptions(whole[at]) {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                survives(read_gguf(&bytes), &format!("{name} with {byte} at {at}"));
            }
        }
    }
}

/// A GGUF file of version 3, built from pieces of its header.
fn gguf(tensors: u64, entries: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(entries.to_le_bytes());
    rest.iter().for_each(|piece| bytes.extend(*piece));
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    bytes.extend(dimensions.iter().flat_map(|size| size.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

#[test]
fn gguf_with_absurd_headers() {
    const HUGE: u64 = 1 << 60;
    let entry = |kind: u32, value: &[u8]| [&text("key")[..], &kind.to_le_bytes(), value].concat();
    let array = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let alignment = |value: u32| [&text("general.alignment")[..], &4u32.to_le_bytes(), &value.to_le_bytes()].concat();
    let nested = [&array(9, 1)[..]].repeat(1000).concat();
    let one = |dimensions: &[u64], kind, offset| gguf(1, 0, &[&tensor("t", dimensions, kind, offset), &[0; 256]]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("'GGUF'", b"GGML\x03\0\0\0".to_vec()),
        ("version 1", b"GGUF\x01\0\0\0".to_vec()),
        ("version 4", b"GGUF\x04\0\0\0".to_vec()),
        ("big-endian", b"GGUF\0\0\0\x03".to_vec()),
        ("number of tensors claims", gguf(HUGE, 0, &[])),
        ("number of metadata entries claims", gguf(0, HUGE, &[])),
        ("key of metadata entry 0 wants", gguf(0, 1, &[&HUGE.to_le_bytes(), &[0; 64]])),
        ("'key' wants", gguf(0, 1, &[&entry(8, &HUGE.to_le_bytes())])),
        ("'key' claims", gguf(0, 1, &[&entry(9, &array(8, HUGE))])),
        ("'key' claims", gguf(0, 1, &[&entry(9, &array(9, u64::MAX))])),
        ("'key' claims", gguf(0, 1, &[&entry(9, &array(12, HUGE))])),
        ("unknown type 13", gguf(0, 1, &[&entry(13, &[0; 8])])),
        ("unknown type 99", gguf(0, 1, &[&entry(9, &array(99, 0))])),
        ("nests arrays", gguf(0, 1, &[&entry(9, &nested)])),
        ("UTF-8", gguf(0, 1, &[&entry(8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff])])),
        ("a bool", gguf(0, 1, &[&entry(7, &[2])])),
        ("'key' comes twice", gguf(0, 2, &[&entry(0, &[1]), &entry(0, &[1])])),
        ("power of two", gguf(0, 1, &[&alignment(0)])),
        ("power of two", gguf(0, 1, &[&alignment(24)])),
        ("power of two", gguf(0, 1, &[&alignment(1 << 31)])),
        ("is a text", gguf(0, 1, &[&text("general.alignment"), &8u32.to_le_bytes(), &text("32")])),
        ("5 dimensions", one(&[1; 5], 0, 0)),
        ("dimension of 0", one(&[0, 4], 0, 0)),
        ("impossible shape", one(&[HUGE, HUGE], 0, 0)),
        ("impossible shape", one(&[1 << 62], 0, 0)),
        ("no whole blocks", one(&[48], 8, 0)),
        ("type 10 (Q2_K)", one(&[256], 10, 0)),
        ("type 77 (unknown)", one(&[256], 77, 0)),
        ("no multiple of 32", one(&[1], 0, 4)),
        ("truncated", one(&[1], 0, HUGE)),
        ("impossible offset", one(&[16], 0, u64::MAX - 31)),
        ("truncated", one(&[1 << 20], 0, 0)),
        ("'t' comes twice", gguf(2, 0, &[&tensor("t", &[1], 0, 0), &tensor("t", &[1], 0, 32), &[0; 256]])),
        ("overlap", gguf(2, 0, &[&tensor("t", &[9], 0, 0), &tensor("u", &[1], 0, 32), &[0; 256]])),
    ];
    for (expected, bytes) in cases {
        let message = refused(read_gguf(&bytes), expected);
        assert!(message.contains(expected) && message.contains("some.gguf"), "'{expected}' is not in: {message}");
    }
    read_gguf(&one(&[16], 0, 0)).expect("the pieces make a sound file");
}

#[test]
fn safetensors_truncated_or_corrupted() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.safetensors");
    let data: Vec<f32> = (0..4096).map(|i| i as f32).collect();
    let tensor = |name, shape, count| NamedTensor { name, shape, data: &data[..count] };
    let tensors = [tensor("a.weight", &[64, 64], 4096), tensor("b", &[], 1), tensor("c.bias", &[12], 12)];
    tensors::write(&path, &tensors, &[("format".to_string(), "pt".to_string())].into()).expect("written");
    let whole = fs::read(&path).expect("the file");
    read_safetensors(&path, &whole).expect("the file is sound");
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().expect("a length")) as usize;
    for cut in cuts(header, whole.len()) {
        refused(read_safetensors(&path, &whole[..cut]), &format!("cut after {cut} bytes"));
    }
    for at in 0..header {
        for byte in corruptions(whole[at]) {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            survives(read_safetensors(&path, &bytes), &format!("{byte} at {at}"));
        }
    }
}

#[test]
fn safetensors_with_absurd_headers() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.safetensors");
    let file = |length: u64, json: &str| [&length.to_le_bytes()[..], json.as_bytes(), &[0; 64]].concat();
    let of = |json: &str| file(json.len() as u64, json);
    let entry = |kind: &str, shape: &str, offsets: &str| {
        of(&format!(r#"{{"t":{{"dtype":"{kind}","shape":{shape},"data_offsets":{offsets}}}}}"#))
    };
    let cases = [
        file(1 << 60, "{}"),
        file(u64::MAX, "{}"),
        of("{"),
        of(&"[".repeat(100_000)),
        of(&"{\"a\":".repeat(100_000)),
        entry("F32", "[16]", "[0,1152921504606846976]"),
        entry("F32", "[1152921504606846976,1152921504606846976]", "[0,64]"),
        entry("F32", "[4]", "[64,0]"),
        entry("F99", "[16]", "[0,64]"),
        entry("F32", "[15]", "[0,64]"),
        entry("F32", "[-1]", "[0,64]"),
        entry("F32", "[99999999999999999999]", "[0,64]"),
    ];
    for (i, bytes) in cases.iter().enumerate() {
        refused(read_safetensors(&path, bytes), &format!("case {i}"));
    }
}

#[test]
fn tokenizers_truncated_or_corrupted() {
    let words = ["to be or not to be, that is the question", "whether 'tis nobler in the mind"];
    let trained = Tokenizer::train_bpe(words.into_iter(), 300, &["<|endoftext|>"]).expect("trains").to_json();
    let chars = Tokenizer::chars_of(words).expect("characters").to_json();
    for json in [trained, chars] {
        assert!(json.is_ascii() || json.contains('Ġ'));
        for cut in (0..json.trim_end().len()).step_by(3).filter(|&cut| json.is_char_boundary(cut)) {
            let error = Tokenizer::from_json(&json[..cut]).expect_err("half a file");
            assert!(matches!(error, Error::Tokenizer(_)), "{error}");
        }
        for at in (0..json.len()).step_by(5) {
            for byte in *b"0[\"}" {
                let mut bytes = json.clone().into_bytes();
                bytes[at] = byte;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                match Tokenizer::from_json(text) {
                    Ok(tokenizer) => drop(tokenizer.encode("to be 世界")),
                    Err(error) => assert!(matches!(error, Error::Tokenizer(_)), "{error}"),
                }
            }
        }
    }
}

/// What PEFT writes has the names of our own adapters' files and another content.
#[test]
fn adapters_of_peft_are_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let config =
        r#"{"peft_type": "LORA", "base_model_name_or_path": "some/base", "r": 8, "target_modules": ["q_proj"]}"#;
    fs::write(dir.path().join("adapter_config.json"), config).expect("written");
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    let tensor = NamedTensor { name, shape: &[1, 2], data: &[0.5, 1.5] };
    let file = dir.path().join("adapter_model.safetensors");
    tensors::write(&file, &[tensor], &[].into()).expect("written");
    for path in [dir.path(), &file] {
        let error = interchange::open(path).err().expect("no model").to_string();
        assert!(error.contains("adapters of PEFT for some/base") && error.contains("merge_and_unload"), "{error}");
    }
}
