//! What the tuner learned and what was compiled, kept in the user's cache folder by adapter and driver.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wgpt::{gpu::Gpu, io::atomic, wgpu};

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

/// Takes over what was kept. A missing or broken file only means tuning again.
pub fn load(gpu: &Gpu) {
    let text = file(gpu).and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(choices) = text.and_then(|text| serde_json::from_str::<BTreeMap<String, String>>(&text).ok()) {
        gpu.tuner().adopt(choices);
    }
}

/// The file of an adapter's compiled pipelines.
fn compiled_file(info: &wgpu::AdapterInfo) -> Option<PathBuf> {
    Some(folder()?.join(wgpu::util::pipeline_cache_key(info)?))
}

/// The compiled pipelines that were kept: [`wgpt::gpu::Options::compiled`].
pub fn compiled(info: &wgpu::AdapterInfo) -> Option<Vec<u8>> {
    std::fs::read(compiled_file(info)?).ok()
}

/// Keeps what is known. A read-only home must not end a training run, so failures are not errors.
pub fn save(gpu: &Gpu) {
    let choices = gpu.tuner().choices();
    if let (Some(file), false, Ok(text)) = (file(gpu), choices.is_empty(), serde_json::to_string_pretty(&choices)) {
        keep(&file, text.as_bytes());
    }
    if let (Some(file), Some(bytes)) = (compiled_file(gpu.info()), gpu.compiled()) {
        keep(&file, &bytes);
    }
}

/// Writes what is new.
fn keep(file: &Path, bytes: &[u8]) {
    if std::fs::read(file).is_ok_and(|kept| kept == bytes) {
        return;
    }
    if let Some(folder) = file.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
    let _ = atomic::write(file, bytes);
}
