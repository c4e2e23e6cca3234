//! The choices that come with the library for drivers that everybody has: those that run kernels on the processor. There
//! compiling variants to time them takes longest. Where one was timed, its time counts.
//!
//! The files are written by `wgpt doctor --tuner --save`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Drivers by the name that wgpu gives, and their files.
const FILES: &[(&str, &str)] = &[
    ("llvmpipe", include_str!("../../data/choices/llvmpipe.json")),
    ("SwiftShader driver", include_str!("../../data/choices/swiftshader.json")),
];

#[derive(Deserialize)]
struct File {
    choices: BTreeMap<String, String>,
}

/// The choices for a driver; none for most.
pub fn choices(driver: &str) -> BTreeMap<String, String> {
    let file = FILES.iter().find(|(name, _)| *name == driver);
    file.and_then(|(_, text)| serde_json::from_str::<File>(text).ok()).map(|file| file.choices).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read() {
        for (driver, text) in FILES {
            let file: File = serde_json::from_str(text).unwrap();
            assert!(!file.choices.is_empty(), "{driver}");
            assert_eq!(choices(driver), file.choices);
        }
        assert!(choices("NVIDIA").is_empty());
    }
}
