//! Reads and writes models of wgpt and of other programs.
//!
//! [`open`] accepts any supported model at a path; [`huggingface::save`] and [`gguf::save`] write files that other
//! programs load.

pub mod adapter;
pub mod arrange;
pub mod checkpoint;
pub mod family;
pub mod gguf;
pub mod huggingface;
pub mod layout;
pub mod load;
pub mod text_codec;

use std::{fs, path::Path};

pub use text_codec::TextCodec;

use crate::{
    Error, Result,
    formats::{Format, gguf::GgufFile, quantise},
    model::{Source, parameters::ParameterSpec},
    text::Tokenizer,
};

/// The model at `path`: a GGUF file, a Hugging Face folder, or a checkpoint or run folder of wgpt. Adapters are merged
/// into their base, in f32.
///
/// # Errors
/// [`Error::Checkpoint`] naming the file and what is wrong with it, [`Error::Io`].
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    refuse_empty(path)?;
    if GgufFile::is_gguf(path) {
        return Ok(Box::new(gguf::Model::open(path)?));
    }
    let folder = folder_of(path);
    if huggingface::Folder::is_one(folder) {
        return Ok(Box::new(huggingface::Folder::open(folder)?));
    }
    if let Some(adapters) = adapter::Adapters::find(path)? {
        let base = adapters.base_path()?;
        return Ok(Box::new(adapters.merged(&base)?));
    }
    Ok(Box::new(checkpoint::CheckpointSource::open(path)?))
}

/// The tokenizer of the model at `path`.
///
/// # Errors
/// Returns the errors of [`TextCodec::open`].
pub fn tokenizer(path: &Path) -> Result<Tokenizer> {
    TextCodec::open(path).map(|codec| codec.tokenizer)
}

/// Refuses a file without content: it would be taken for a part of the folder that contains it.
fn refuse_empty(path: &Path) -> Result<()> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() == 0 => {
            Err(Error::checkpoint(path, "the file is empty; was its download or copy cut off?"))
        }
        _ => Ok(()),
    }
}

/// The folder itself, or the folder that contains the file.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if path.is_file() && parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) if path.is_file() => parent,
        _ => path,
    }
}

fn read_json(path: &Path) -> Result<serde_json::Value> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::checkpoint(path, format!("not valid JSON: {error}")))
}

/// The bytes to store for a piece of `source`'s parameter `spec` in a format; zeros for a bias that the source lacks.
fn piece_bytes(source: &dyn Source, spec: &ParameterSpec, piece: &layout::Piece, format: Format) -> Result<Vec<u8>> {
    let pieces = source.parameter(&spec.name)?;
    if pieces.is_empty() {
        if !spec.name.ends_with(".bias") {
            return Err(Error::Config(format!("the model has no parameter '{}'", spec.name)));
        }
        return quantise(format, &vec![0.0; piece.rows]);
    }
    let vector = piece.width.is_none();
    let rows = arrange::select(&pieces, vector, piece.first, piece.rows);
    if rows.elements() != piece.rows * piece.width.unwrap_or(1) {
        return Err(Error::Config(format!("'{}' has not the shape that the configuration says", spec.name)));
    }
    Ok(arrange::encode(arrange::to_file(rows, piece.order), format)?.into_owned())
}
