//! Any bytes as a safetensors file: an error about the file, or every tensor of a known type can be read.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use wgpt::{Error, io::tensors::TensorFile};

/// Files are opened by name; one per process, written again and again (never while it is mapped).
static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("wgpt-fuzz-{}.safetensors", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    fs::write(&*FILE, bytes).expect("a temporary file");
    match TensorFile::open(&FILE) {
        Err(error) => assert!(matches!(error, Error::Checkpoint { .. } | Error::Io { .. }), "{error}"),
        Ok(file) => {
            for name in file.names() {
                match file.to_f32(&name) {
                    Ok(values) => assert_eq!(values.len(), file.shape(&name).expect("a tensor").iter().product::<usize>()),
                    Err(error) => assert!(matches!(error, Error::Checkpoint { .. }), "{error}"),
                }
            }
            let _ = file.metadata();
        }
    }
});
