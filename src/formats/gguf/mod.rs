//! GGUF files, versions 2 and 3, little-endian: metadata, tensor descriptions, aligned data.
//!
//! The format is described in ggml's `docs/gguf.md`. The whole header is checked when a file is opened, so tensors that
//! it names can be read without further checks.
#![warn(clippy::indexing_slicing)]

mod header;
mod metadata;
mod value;
mod write;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

pub use metadata::{FromValue, Metadata};
pub use value::{Array, Value};
pub use write::{TensorSpec, write, write_to};

use self::header::{Header, TensorInfo};
use super::{Format, Rows};
use crate::{Error, Result, content::Content};

/// A memory-mapped GGUF file. Tensors are read from disk when they are used.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    content: Content,
    header: Header,
}

impl GgufFile {
    /// Whether a file begins with the GGUF magic number; false if it cannot be read.
    pub fn is_gguf(path: &Path) -> bool {
        use std::io::Read;
        let mut magic = [0; 4];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
        read.is_ok() && magic == header::MAGIC
    }

    /// Opens a file and checks its metadata and the positions of its tensors.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened; [`Error::Checkpoint`], naming the field or tensor, if it is truncated,
    /// broken, or of a kind that wgpt does not read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(path, Content::map(path)?)
    }

    /// Parses a file's content; `path` is used in error messages only.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], as for [`GgufFile::open`].
    pub fn parse(path: &Path, bytes: impl Into<Vec<u8>>) -> Result<Self> {
        Self::of(path, Content::Bytes(bytes.into()))
    }

    fn of(path: &Path, content: Content) -> Result<Self> {
        let header = header::parse(path, &content)?;
        Ok(Self { path: path.to_path_buf(), content, header })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// The tensors' names in file order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// Whether the file has a tensor with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.header.by_name.contains_key(name)
    }

    /// The dimensions of a tensor, outermost first (GGUF stores them in reverse order).
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    /// How a tensor's elements are stored.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn format(&self, name: &str) -> Result<Format> {
        Ok(self.info(name)?.format)
    }

    /// A tensor as it is stored. All dimensions but the innermost are combined into rows.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn rows(&self, name: &str) -> Result<Rows<'_>> {
        let info = self.info(name)?;
        let (width, outer) = info.shape.split_last().map_or((1, &[][..]), |(width, outer)| (*width, outer));
        // The header's reader has checked that the tensor lies within the file.
        let bytes = self.content.get(info.range.clone()).ok_or_else(|| self.missing(name))?;
        Ok(Rows { format: info.format, rows: outer.iter().product(), width, bytes: Cow::Borrowed(bytes) })
    }

    /// Tells the operating system that a tensor's pages are no longer needed. They are read from the file again on the
    /// next access.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn release(&self, name: &str) -> Result<()> {
        self.content.release(self.info(name)?.range.clone());
        Ok(())
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let at = self.header.by_name.get(name);
        at.and_then(|&at| self.header.tensors.get(at)).ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: &str) -> Error {
        Error::checkpoint(&self.path, format!("no tensor '{name}' in it; is it another model?"))
    }
}
