//! Any bytes as a GGUF file: an error about the file, or every tensor can be read, and as a model every parameter.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use wgpt::{
    Error,
    formats::GgufFile,
    interchange::{TextCodec, gguf},
    model::{Source, parameters},
};

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
            let _ = gguf::remarks(&file);
            if let Err(error) = TextCodec::of_gguf(&file) {
                assert!(matches!(error, Error::Checkpoint { .. } | Error::Tokenizer(_)), "{error}");
            }
            match gguf::Model::from_file(file) {
                Err(error) => assert!(matches!(error, Error::Checkpoint { .. } | Error::Config(_)), "{error}"),
                Ok(model) => {
                    for spec in parameters::specs(model.config()) {
                        let parts = model.parameter(&spec.name).expect("a parameter");
                        let elements: usize = parts.iter().map(|part| part.to_f32().len()).sum();
                        assert_eq!(elements, spec.shape.iter().product::<usize>(), "{}", spec.name);
                    }
                }
            }
        }
    }
});
