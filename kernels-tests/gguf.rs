//! GGUF files and number formats, compared with gguf-py and ggml (scripts/fixtures/make_gguf_fixtures.py).

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    process::Command,
};

use wgpt::{
    Error,
    formats::{
        Format, GgufFile, Rows,
        gguf::{self, Array, TensorSpec, Value},
        quantise,
    },
};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/gguf").join(name)
}

fn open(name: &str) -> GgufFile {
    GgufFile::open(&fixture(name)).expect("the fixture opens")
}

fn values(file: &GgufFile, name: &str) -> Vec<f32> {
    file.rows(name).expect("the fixture has it").to_f32()
}

fn mean_square(values: &[f32], others: &[f32]) -> f64 {
    let squares: f64 = values.iter().zip(others).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    squares / values.len() as f64
}

#[test]
fn every_format_is_dequantised_bit_for_bit() {
    let file = open("blocks.gguf");
    for format in Format::ALL {
        let rows = file.rows(format.name()).expect("the fixture has every format");
        assert_eq!((rows.format, rows.rows, rows.width), (format, 2, 512));
        let expected = values(&file, &format!("{format}.f32"));
        for (i, (value, expected)) in rows.to_f32().iter().zip(&expected).enumerate() {
            assert!(value == expected, "{format} element {i}: {value} instead of {expected}");
        }
    }
}

#[test]
fn quantised_bytes_equal_the_reference() {
    let file = open("quantised.gguf");
    let given = values(&file, "values");
    for format in [Format::Q8_0, Format::Q4_1, Format::BF16, Format::F16] {
        let expected = file.rows(format.name()).expect("the fixture has it").bytes;
        let bytes = quantise(format, &given).expect("whole blocks");
        let size = format.row_bytes(256);
        for (row, (bytes, expected)) in bytes.chunks(size).zip(expected.chunks(size)).enumerate() {
            assert_eq!(bytes, expected, "{format} row {row}");
        }
    }
}

/// The search may sum in another order than ggml as compiled, so levels can differ where two fits are equally good.
#[test]
fn q4_k_is_as_close_as_the_reference() {
    let file = open("quantised.gguf");
    let given = values(&file, "values");
    let reference = file.rows("Q4_K").expect("the fixture has it");
    let bytes = quantise(Format::Q4K, &given).expect("whole blocks");
    let same = bytes.iter().zip(reference.bytes.iter()).filter(|(a, b)| a == b).count();
    assert!(same * 100 >= bytes.len() * 90, "{same} of {} bytes are equal", bytes.len());
    let ours = Rows { bytes: Cow::Owned(bytes), ..reference };
    let (ours, theirs) = (ours.to_f32(), values(&file, "Q4_K"));
    for (row, given) in given.chunks(256).enumerate() {
        let range = row * 256..(row + 1) * 256;
        let (ours, theirs) = (mean_square(given, &ours[range.clone()]), mean_square(given, &theirs[range]));
        assert!(ours <= theirs * 1.02 + 1e-12, "row {row}: {ours} instead of {theirs}");
    }
}

fn every_value() -> Vec<(String, Value)> {
    let array = |array| Value::Array(array);
    let entries = [
        ("general.architecture", Value::Str("llama".into())),
        ("t.u8", Value::U8(200)),
        ("t.i8", Value::I8(-100)),
        ("t.u16", Value::U16(60_000)),
        ("t.i16", Value::I16(-30_000)),
        ("t.u32", Value::U32(4_000_000_000)),
        ("t.i32", Value::I32(-2_000_000_000)),
        ("t.u64", Value::U64(1 << 63)),
        ("t.i64", Value::I64(-(1 << 62))),
        ("t.f32", Value::F32(0.1)),
        ("t.f64", Value::F64(0.1)),
        ("t.bool", Value::Bool(true)),
        ("t.str", Value::Str("Grüße, 世界 🎲\n".into())),
        ("a.u8", array(Array::U8(vec![1, 255]))),
        ("a.i8", array(Array::I8(vec![-1, 127]))),
        ("a.u16", array(Array::U16(vec![1, 65_535]))),
        ("a.i16", array(Array::I16(vec![-1, 2]))),
        ("a.u32", array(Array::U32(vec![7, u32::MAX]))),
        ("a.i32", array(Array::I32(vec![-7, 8]))),
        ("a.u64", array(Array::U64(vec![1 << 63]))),
        ("a.i64", array(Array::I64(vec![i64::MIN]))),
        ("a.f32", array(Array::F32(vec![0.5, -2.0]))),
        ("a.f64", array(Array::F64(vec![0.1]))),
        ("a.bool", array(Array::Bool(vec![true, false]))),
        ("a.str", array(Array::Str(vec!["a".into(), String::new(), "ü".into()]))),
    ];
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

#[test]
fn metadata_of_every_type_is_listed() {
    let file = open("metadata.gguf");
    assert_eq!(file.metadata().entries(), every_value());
    assert_eq!(file.shape("cube").expect("a tensor"), [2, 3, 4]);
    assert_eq!(values(&file, "cube"), (0..24).map(|i| i as f32).collect::<Vec<_>>());
}

/// Entries and tensors keep their order, so the bytes are equal.
#[test]
fn the_same_content_gives_the_same_file_as_gguf_py() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("again.gguf");
    for name in ["metadata.gguf", "blocks.gguf", "quantised.gguf"] {
        copy(&open(name), &path);
        let (again, first) = (std::fs::read(&path).expect("a file"), std::fs::read(fixture(name)).expect("a file"));
        assert!(again == first, "{name} differs after reading and writing");
    }
}

fn copy(file: &GgufFile, path: &Path) {
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        shape: file.shape(name).expect("a tensor").to_vec(),
        format: file.format(name).expect("a tensor"),
    };
    let specs: Vec<_> = file.names().map(spec).collect();
    gguf::write(path, file.metadata().entries(), &specs, |spec, out| {
        out.write_all(&file.rows(&spec.name)?.bytes).map_err(Error::io(path, "write"))
    })
    .expect("the copy is written");
}

/// Runs only if python3 has the package gguf.
#[test]
fn gguf_py_reads_what_is_written() {
    const SCRIPT: &str = "import sys, gguf\nr = gguf.GGUFReader(sys.argv[1])\n\
        print([(t.name, t.tensor_type.name, [int(n) for n in t.shape], float(gguf.dequantize(t.data, t.tensor_type).sum())) for t in r.tensors])\n\
        print(r.get_field('general.name').contents())";
    let there = Command::new("python3").args(["-c", "import gguf"]).output().is_ok_and(|out| out.status.success());
    if !there {
        eprintln!("skipped: python3 has no package gguf here (pip install gguf)");
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("ours.gguf");
    let formats = [Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q4_1, Format::Q4K];
    let spec = |format: &Format| TensorSpec { name: format.name().into(), shape: vec![2, 256], format: *format };
    let specs: Vec<_> = formats.iter().map(spec).collect();
    let ones = vec![1.0; 512];
    gguf::write(&path, &[("general.name".into(), Value::Str("naïve".into()))], &specs, |spec, out| {
        out.write_all(&quantise(spec.format, &ones)?).map_err(Error::io(&path, "write"))
    })
    .expect("the file is written");
    let out = Command::new("python3").args(["-c", SCRIPT]).arg(&path).output().expect("python runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for format in formats {
        assert!(text.contains(&format!("('{format}', '{format}', [256, 2], 51")), "{format}: {text}");
    }
    assert!(text.contains("naïve"), "{text}");
}
