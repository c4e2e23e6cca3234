//! Any bytes as a data file: an error about the file, or records and texts that can be read.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use wgpt::{Error, feedback, text::{Corpus, DataFile}};

/// Files are opened by name; one per process, written again and again.
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("wgpt-fuzz-{}.data", std::process::id())));

fn about_the_file(error: &Error) -> bool {
    matches!(error, Error::Data { .. } | Error::Io { .. } | Error::Config(_))
}

// Panics of the library that reads Parquet are caught; others still end the target.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| ())), |bytes: &[u8]| {
    fs::write(&*FILE, bytes).expect("a temporary file");
    let read = DataFile::open(&FILE).and_then(|file| match file.is_plain() {
        true => file.text_within(1 << 24).map(|_| ()),
        false => file.records(|_| (), |_, _| Ok(())),
    });
    if let Err(error) = read {
        assert!(about_the_file(&error), "{error:?}");
    }
    if let Err(error) = feedback::read(&FILE, "rater", |_| (), |_, _| Ok(())) {
        assert!(about_the_file(&error), "{error:?}");
    }
    let texts = Corpus::open(&FILE).and_then(|corpus| corpus.texts().map(|texts| texts.len()));
    if let Err(error) = texts {
        assert!(about_the_file(&error), "{error:?}");
    }
});
