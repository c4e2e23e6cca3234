//! Any text as a tokenizer.json: an error, or a tokenizer that encodes and decodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wgpt::{Error, text::Tokenizer};

fuzz_target!(|json: &str| {
    match Tokenizer::from_json(json) {
        Err(error) => assert!(matches!(error, Error::Tokenizer(_)), "{error}"),
        Ok(tokenizer) => {
            if let Ok(ids) = tokenizer.encode("To be, or  not 世界 🎲 123") {
                let _ = tokenizer.decode(&ids);
            }
            let _ = tokenizer.decode(&[0, 1, u32::MAX]);
        }
    }
});
