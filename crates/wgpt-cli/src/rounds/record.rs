//! The record of the stages that are done, in the folder of a command that runs several.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use wgpt::{Error, Result, io::atomic};

/// Creates the folder of a new `kind` of command.
///
/// # Errors
/// [`Error::Checkpoint`] if there is something in it.
pub(crate) fn start(folder: &Path, kind: &str) -> Result<()> {
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let reason = format!("is not empty; add --resume to go on with the {kind} in it, or choose another --out");
        return Err(Error::checkpoint(folder, reason));
    }
    atomic::private_folder(folder)
}

/// The content of a record: `settings`, and `stages` for [`stages`].
///
/// # Errors
/// [`Error::Io`], and [`Error::Data`] for a file that is not JSON.
pub(crate) fn read(record: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(record).map_err(Error::io(record, "read"))?;
    serde_json::from_str(&text).map_err(|error| Error::data(record, error.to_string()))
}

/// The stages that are done according to a record's `content`.
///
/// # Errors
/// [`Error::Data`] if they are not as described.
pub(crate) fn stages<T: DeserializeOwned>(record: &Path, content: &Value) -> Result<Vec<T>> {
    serde_json::from_value(content["stages"].clone()).map_err(|error| Error::data(record, error.to_string()))
}

/// Writes the record, whole or not at all.
pub(crate) fn write(record: &Path, settings: &Value, stages: &[impl Serialize]) -> Result<()> {
    let content = json!({ "settings": settings, "stages": stages });
    atomic::write(record, format!("{content:#}\n").as_bytes())
}
