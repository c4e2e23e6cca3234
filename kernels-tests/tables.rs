//! Parquet tables, made by scripts/fixtures/make_table_fixtures.py, hold the records that were put in.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wgpt::{
    Result,
    text::{Corpus, DataFile, Layout},
};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/tables").join(name)
}

fn rows(name: &str) -> Result<Vec<(u64, Value)>> {
    let file = DataFile::open(&path(name))?;
    assert_eq!(file.layout(), Layout::Table);
    let mut rows = Vec::new();
    file.records(
        |_| (),
        |number, row| {
            rows.push((number, row.expect("a row is JSON")));
            Ok(())
        },
    )?;
    Ok(rows)
}

#[test]
fn rows_are_what_was_written() {
    if !cfg!(feature = "parquet") {
        eprintln!("skipped: built without Parquet");
        let error = rows("none.parquet").expect_err("it cannot be read").to_string();
        assert!(error.contains("built without Parquet"), "{error}");
        return;
    }
    let said = |role: &str, content: Value| json!({ "role": role, "content": content });
    let talk = [said("user", json!("Hi")), said("assistant", json!("Yes?"))];
    let expected = [
        (1, json!({"text": "Once upon a time 永 😀.", "messages": talk, "score": 1.5})),
        (2, json!({"text": "", "messages": [], "score": null})),
        (3, json!({"text": "The end.\r\n", "messages": [said("user", Value::Null)], "score": -2.0})),
    ];
    for compression in ["none", "snappy", "gzip", "zstd"] {
        let name = format!("{compression}.parquet");
        assert_eq!(rows(&name).expect("a good table"), expected, "{name}");
        let corpus = Corpus::open(&path(&name)).expect("documents");
        let texts: Vec<_> = corpus.texts().expect("UTF-8").iter().map(|text| text.text).collect();
        assert_eq!(texts, ["Once upon a time 永 😀.", "", "The end.\n"], "{name}");
    }
    let bytes = rows("bytes.parquet").expect("texts stored as bytes");
    assert_eq!(bytes, [(1, json!({"text": "Once"})), (2, json!({"text": "永"}))]);
    let error = rows("binary.parquet").expect_err("no text").to_string();
    assert!(error.contains("row 1: it has binary data"), "{error}");
}

/// Whatever is wrong with a table is an error.
#[test]
fn broken_tables_are_refused() {
    if !cfg!(feature = "parquet") {
        eprintln!("skipped: built without Parquet");
        return;
    }
    let whole = std::fs::read(path("snappy.parquet")).expect("a fixture");
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken.parquet");
    let read = |bytes: &[u8]| {
        std::fs::write(&broken, bytes).expect("written");
        DataFile::open(&broken).and_then(|file| file.records(|_| (), |_, _| Ok(())))
    };
    for length in (4..whole.len()).step_by(61) {
        assert!(read(&whole[..length]).is_err(), "cut after {length} bytes");
    }
    // Found by fuzzing: the library panics.
    let damaged =
        read(&std::fs::read(path("damaged.parquet")).expect("a fixture")).expect_err("a damaged page").to_string();
    assert!(damaged.contains("a page of it is damaged"), "{damaged}");
    // Some changes go unnoticed; none may end the program.
    for at in (4..whole.len()).step_by(13) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        let _ = read(&changed);
    }
}
