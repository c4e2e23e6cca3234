//! What the tuner learned and the driver compiled, kept in the user's cache folder by adapter and driver.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{gpu::Gpu, io::atomic, text::tokenizer::Hasher};

/// Counts up when variants or classes change their names or meaning, so that old choices are not taken for new ones.
const VERSION: u32 = 3;

/// The program's cache folder: `WGPT_CACHE`, or below `XDG_CACHE_HOME`, the platform's cache folder or the home.
pub fn folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("WGPT_CACHE").or_else(|| {
        let base = variable("XDG_CACHE_HOME")
            .or_else(|| variable("LOCALAPPDATA"))
            .or_else(|| variable("HOME").map(|home| home.join(".cache")));
        base.map(|base| base.join("wgpt"))
    })
}

/// The cache file of this adapter.
fn file(gpu: &Gpu) -> Option<PathBuf> {
    Some(folder()?.join(format!("tuning-v{VERSION}-{}.json", gpu.tuner().adapter())))
}

/// Where the choices of this adapter are kept, for messages.
pub fn place(gpu: &Gpu) -> String {
    file(gpu).map_or_else(|| "nowhere (no home folder)".to_string(), |file| file.display().to_string())
}

/// The compiled pipelines of this adapter and driver, behind a checksum of them.
fn pipelines(gpu: &Gpu) -> Option<PathBuf> {
    Some(folder()?.join(format!("pipelines-{}.bin", gpu.tuner().adapter())))
}

fn checksum(data: &[u8]) -> u64 {
    let mut hasher = Hasher::default();
    hasher.add(data);
    hasher.finish()
}

/// What a file of compiled pipelines holds; none if a byte of it is not what was written: drivers trust what they are given.
fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (seal, data) = bytes.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*seal) == checksum(data)).then_some(data)
}

/// Takes over what was kept. A missing or broken file only means tuning and compiling again.
pub fn load(gpu: &Gpu) {
    let compiled = pipelines(gpu).and_then(|file| std::fs::read(file).ok());
    gpu.adopt_pipelines(compiled.as_deref().and_then(unsealed));
    let text = file(gpu).and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(choices) = text.and_then(|text| serde_json::from_str::<BTreeMap<String, String>>(&text).ok()) {
        gpu.tuner().adopt(choices);
    }
}

/// Keeps what is known. A read-only home must not end a training run, so failures are not errors.
pub fn save(gpu: &Gpu) {
    save_pipelines(gpu);
    let (Some(file), choices) = (file(gpu), gpu.tuner().choices()) else { return };
    if choices.is_empty() {
        return;
    }
    if let (Some(folder), Ok(text)) = (file.parent(), serde_json::to_string_pretty(&choices)) {
        let _ = std::fs::create_dir_all(folder);
        let _ = atomic::write(&file, text.as_bytes());
    }
}

/// Keeps the compiled pipelines, if there are any that the file does not hold yet.
fn save_pipelines(gpu: &Gpu) {
    let (Some(file), Some(data)) = (pipelines(gpu), gpu.compiled_pipelines()) else { return };
    if std::fs::read(&file).is_ok_and(|old| unsealed(&old) == Some(&data)) {
        return;
    }
    let sealed = [&checksum(&data).to_le_bytes()[..], &data].concat();
    let _ = atomic::write(&file, &sealed);
}

#[cfg(test)]
mod tests {
    use super::{checksum, unsealed};

    #[test]
    fn what_was_damaged_is_not_used() {
        let sealed = [&checksum(b"compiled").to_le_bytes()[..], b"compiled"].concat();
        assert_eq!(unsealed(&sealed), Some(&b"compiled"[..]));
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert_eq!(unsealed(&damaged), None, "byte {place}");
            assert_eq!(unsealed(&sealed[..place]), None, "cut at {place}");
        }
    }
}
