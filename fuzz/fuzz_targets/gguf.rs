//! Any bytes as a GGUF file: an error about the file, or every tensor can be read.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use wgpt::{Error, formats::GgufFile};

fuzz_target!(|bytes: &[u8]| {
    match GgufFile::parse(Path::new("fuzz.gguf"), bytes) {
        Err(error) => assert!(matches!(error, Error::Checkpoint { .. }), "{error}"),
        Ok(file) => {
            for name in file.names() {
                let elements: usize = file.shape(name).expect("a tensor").iter().product();
                assert_eq!(file.rows(name).expect("a tensor").to_f32().len(), elements);
            }
            for (key, _) in file.metadata().entries() {
                let _ = file.metadata().get::<u32>(key);
                let _ = file.metadata().get::<&[String]>(key);
            }
        }
    }
});
