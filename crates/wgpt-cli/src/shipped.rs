//! The model that comes with the program, for a first talk without any download.

use std::path::PathBuf;

use super::io_cache;
use wgpt::{Error, Result, assets::TALKER, io::atomic};

/// The file of a model that the user named, or else of the one that comes with the program, which is put into the user's
/// cache folder (without one, into the folder for temporary files) when it is not there yet.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub(super) fn or_talker(named: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(path.clone());
    }
    let folder = io_cache::folder().unwrap_or_else(|| std::env::temp_dir().join("wgpt"));
    let path = folder.join("talker.gguf");
    // Another version of the program may have left another one.
    if std::fs::read(&path).is_ok_and(|found| found == TALKER) {
        return Ok(path);
    }
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
    atomic::write(&path, TALKER)?;
    Ok(path)
}
