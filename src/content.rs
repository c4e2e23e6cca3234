//! The content of a file: memory-mapped so that pages are loaded on access, or in memory where there is no file system. And
//! what the first bytes of a file show it to be.

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

/// The first bytes of a file compressed with gzip.
pub const GZIP: &[u8] = &[0x1f, 0x8b];
/// The byte order mark of UTF-8.
pub const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// The first bytes of a Parquet table.
pub const PARQUET: &[u8] = b"PAR1";

/// Files that are neither texts nor JSON, by their first bytes: what they are, and what to do.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"),
    (b"PK\x03\x04", "it is a ZIP archive; unpack it and give the file in it"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with Zstandard; decompress it first, as with `zstd -d`"),
    (b"\xfd7zXZ", "it is compressed with xz; decompress it first, as with `xz -d`"),
    (b"BZh91AY&SY", "it is compressed with bzip2; decompress it first, as with `bzip2 -d`"),
    (b"%PDF-", "it is a PDF document; extract its text first, as with `pdftotext`"),
    (b"GGUF\x02\0", "it is a GGUF model"),
    (b"GGUF\x03\0", "it is a GGUF model"),
    (b"SQLite format 3\0", "it is an SQLite database"),
    (
        b"\x80\x02",
        "it is a Python pickle, which can run any program when it is read; convert it to safetensors or JSON first",
    ),
    (b"ARROW1", "it is an Arrow file; convert it to Parquet or JSON first"),
];

/// What a file that begins with `head` is, if it is neither text nor JSON, and what to do.
pub fn foreign(head: &[u8]) -> Option<&'static str> {
    FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what)
}

/// Says so if a file that begins with `head` is a web page.
pub fn web_page(head: &[u8]) -> Option<&'static str> {
    let start = head.strip_prefix(UTF8_MARK).unwrap_or(head).trim_ascii_start();
    let begins = |mark: &[u8]| start.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    let page = begins(b"<!doctype html") || begins(b"<html");
    page.then_some(
        "it is a web page, perhaps an error or a login page that was saved under this name; download the file again",
    )
}

/// `bytes` without a byte order mark of UTF-8, which some editors put before JSON.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes)
}
