//! The program's folder in the user's cache: the tuner's choices and compiled pipelines, by adapter and driver, and the
//! model that comes with the program, for a first chat without any download.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wgpt::{Result, assets::TALKER, gpu::Gpu, io::atomic, wgpu};

/// Increased when variants or classes change their names or meaning, so that old choices are not used for new ones.
const VERSION: u32 = 3;

/// The program's cache folder: `WGPT_CACHE`, or below `XDG_CACHE_HOME`, the platform's cache folder or the home folder.
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

/// The path of this adapter's stored choices, for messages.
pub fn place(gpu: &Gpu) -> String {
    file(gpu).map_or_else(|| "nowhere (no home folder)".to_string(), |file| file.display().to_string())
}

/// Loads stored choices. If the file is missing or broken, the only consequence is tuning again.
pub fn load(gpu: &Gpu) {
    gpu.tuner().adopt(stored(gpu));
}

fn stored(gpu: &Gpu) -> BTreeMap<String, String> {
    let text = file(gpu).and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The file of an adapter's compiled pipelines.
fn compiled_file(info: &wgpu::AdapterInfo) -> Option<PathBuf> {
    Some(folder()?.join(wgpu::util::pipeline_cache_key(info)?))
}

/// The stored compiled pipelines, for [`wgpt::gpu::Options::compiled`]. They are programs that the driver runs, so they are not
/// taken from a file that somebody else could have written.
pub fn compiled(info: &wgpu::AdapterInfo) -> Option<Vec<u8>> {
    let file = compiled_file(info)?;
    is_own(&file).then(|| std::fs::read(file).ok()).flatten()
}

/// Whether a file belongs to the user who runs this program and only that user may write to it. Other users who can write to its
/// folder could replace it, but only with a file of their own.
#[cfg(unix)]
fn is_own(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    file.metadata().is_ok_and(|data| data.uid() == user && data.mode() & 0o022 == 0)
}

#[cfg(not(unix))]
fn is_own(_: &Path) -> bool {
    true
}

/// Stores the choices. A read-only home folder must not end a training run, so failures are ignored.
pub fn save(gpu: &Gpu) {
    let answers = gpu.tuner().answers();
    // Other processes may have stored theirs meanwhile.
    let mut choices = stored(gpu);
    choices.extend(answers);
    if let (Some(file), false, Ok(text)) = (file(gpu), choices.is_empty(), serde_json::to_string_pretty(&choices)) {
        keep(&file, text.as_bytes());
    }
    if let (Some(file), Some(bytes)) = (compiled_file(gpu.info()), gpu.compiled()) {
        keep(&file, &bytes);
    }
}

/// Writes a file if its content has changed, and closes it to other users.
fn keep(file: &Path, bytes: &[u8]) {
    if let Some(folder) = file.parent() {
        let _ = atomic::private_folder(folder);
    }
    if !std::fs::read(file).is_ok_and(|kept| kept == bytes) {
        let _ = atomic::write(file, bytes);
    }
    close_to_others(file);
}

#[cfg(unix)]
fn close_to_others(file: &Path) {
    let _ = std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600));
}

#[cfg(not(unix))]
fn close_to_others(_: &Path) {}

/// The path of the model named by the user, or of the model that comes with the program. The latter is written to the
/// user's cache folder, or where that cannot be written to the folder for temporary files, if it is not there yet.
///
/// # Errors
/// [`wgpt::Error::Io`] if neither can be written.
pub(super) fn or_talker(named: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.clone());
    }
    let temporary = std::env::temp_dir().join("wgpt");
    match folder().map(|folder| talker_in(&folder)) {
        Some(Ok(path)) => Ok(path),
        _ => talker_in(&temporary),
    }
}

/// The model that comes with the program, in `folder`.
fn talker_in(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("talker.gguf");
    // Another version of the program may have written a different one.
    if std::fs::read(&path).is_ok_and(|found| found == TALKER) {
        return Ok(path);
    }
    atomic::private_folder(folder)?;
    atomic::write(&path, TALKER)?;
    Ok(path)
}
