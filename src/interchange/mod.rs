//! Reads and writes models of wgpt and of other programs.
//!
//! [`open`] accepts any supported model at a path; [`huggingface::save`] and [`gguf::save`] write files that other
//! programs load.
#![warn(clippy::indexing_slicing)]

pub mod adapter;
pub mod arrange;
pub mod checkpoint;
pub mod family;
pub mod gguf;
pub mod huggingface;
pub mod layout;
pub mod load;
pub mod text_codec;

use std::{fs, io::Read, path::Path};

pub use text_codec::TextCodec;

use crate::{
    Error, Result,
    content::{GZIP, foreign, web_page, without_mark},
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
    refuse_others(path)?;
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

/// Refuses a file that cannot be a model, or part of one, by its kind and its first bytes: it would be taken for a part of the
/// folder that contains it.
fn refuse_others(path: &Path) -> Result<()> {
    // What is missing is reported by whoever looks for it.
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    if metadata.is_dir() {
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(Error::checkpoint(path, "not a regular file"));
    }
    let mut head = [0; 512];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut head)).map_err(Error::io(path, "read"))?;
    let head = head.get(..read).unwrap_or_default();
    if head.is_empty() {
        return Err(Error::checkpoint(path, "the file is empty; was its download or copy cut off?"));
    }
    if head.starts_with(GZIP) {
        return Err(Error::checkpoint(path, "it is compressed with gzip; decompress it first, as with `gzip -d`"));
    }
    match foreign(head).or(web_page(head)).filter(|_| !GgufFile::is_gguf(path)) {
        Some(what) => Err(Error::checkpoint(path, what)),
        None => Ok(()),
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
    let not_json = |error| match foreign(&bytes).or(web_page(&bytes)) {
        Some(what) => Error::checkpoint(path, what),
        None => Error::checkpoint(path, format!("not valid JSON: {error}")),
    };
    serde_json::from_slice(without_mark(&bytes)).map_err(not_json)
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
