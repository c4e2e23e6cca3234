//! GGUF files, versions 2 and 3, little-endian: metadata, tensor descriptions, aligned data.
//!
//! The format is described in ggml's `docs/gguf.md`. A file is checked whole when it is opened, so that a tensor that it
//! names can be taken without further checks.

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

/// A GGUF file, memory-mapped: tensors are read when they are used.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    content: Content,
    header: Header,
}

impl GgufFile {
    /// Whether a file begins as GGUF files do; false for what cannot be read.
    pub fn is_gguf(path: &Path) -> bool {
        use std::io::Read;
        let mut magic = [0; 4];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
        read.is_ok() && magic == header::MAGIC
    }

    /// Opens a file and checks its metadata and the places of its tensors.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened; [`Error::Checkpoint`], naming the field or tensor, when it is truncated,
    /// broken, or of a kind that wgpt does not read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(path, Content::map(path)?)
    }

    /// The same from a file's content; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as [`GgufFile::open`].
    pub fn parse(path: &Path, bytes: impl Into<Vec<u8>>) -> Result<Self> {
        Self::of(path, Content::Bytes(bytes.into()))
    }

    fn of(path: &Path, content: Content) -> Result<Self> {
        let header = header::parse(path, &content)?;
        Ok(Self { path: path.to_path_buf(), content, header })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// The tensors' names in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// Whether the file has a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.header.by_name.contains_key(name)
    }

    /// The dimensions of a tensor, outermost first (GGUF stores them the other way round).
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    /// How a tensor's elements are stored.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor.
    pub fn format(&self, name: &str) -> Result<Format> {
        Ok(self.info(name)?.format)
    }

    /// A tensor as it lies in the file. All dimensions but the innermost are counted together as rows.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor.
    pub fn rows(&self, name: &str) -> Result<Rows<'_>> {
        let info = self.info(name)?;
        let (width, outer) = info.shape.split_last().map_or((1, &[][..]), |(width, outer)| (*width, outer));
        let bytes = Cow::Borrowed(&self.content[info.range.clone()]);
        Ok(Rows { format: info.format, rows: outer.iter().product(), width, bytes })
    }

    /// Tells the system that a tensor's pages are not needed any more; they come back from the file if they are.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such tensor.
    pub fn release(&self, name: &str) -> Result<()> {
        self.content.release(self.info(name)?.range.clone());
        Ok(())
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let at = self.header.by_name.get(name);
        at.map(|&at| &self.header.tensors[at])
            .ok_or_else(|| Error::checkpoint(&self.path, format!("no tensor '{name}' in it; is it another model?")))
    }
}
