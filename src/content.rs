//! The content of a file: memory-mapped so that pages are loaded on access, or in memory where there is no file system.

use std::{
    ops::{Deref, Range},
    path::Path,
};

use crate::{Result, trusted};

/// A file's bytes.
#[derive(Debug)]
pub enum Content {
    /// Memory-mapped.
    Map(memmap2::Mmap),
    /// In memory.
    Bytes(Vec<u8>),
}

impl Content {
    /// Maps the file at `path` into memory.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn map(path: &Path) -> Result<Self> {
        trusted::map(path).map(Self::Map)
    }

    /// Tells the operating system that a range of a mapped file need not stay in memory.
    pub fn release(&self, range: Range<usize>) {
        if let Self::Map(map) = self {
            trusted::release(map, range);
        }
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Bytes(bytes) => bytes,
        }
    }
}
