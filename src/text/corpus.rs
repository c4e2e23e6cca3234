//! A corpus: one UTF-8 text file, or all `.txt` files of a folder in order of their names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::tokenizer::Hasher;
use crate::{Error, Result, trusted};

/// Memory-mapped, checked texts.
#[derive(Debug)]
pub struct Corpus {
    files: Vec<(PathBuf, memmap2::Mmap)>,
}

impl Corpus {
    /// Maps the text at `path`, a file or a folder of `.txt` files (hidden files and subfolders are ignored).
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] if there is nothing at `path` or all files are empty.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::data(path, "no such file or folder; give a UTF-8 text file or a folder of .txt files"));
        }
        let paths = if path.is_dir() { text_files(path)? } else { vec![path.to_path_buf()] };
        let mut files = Vec::new();
        for path in paths {
            let map = trusted::map(&path)?;
            files.push((path, map));
        }
        if files.is_empty() {
            return Err(Error::data(path, "no .txt file in this folder"));
        }
        if files.iter().all(|(_, map)| map.is_empty()) {
            return Err(Error::data(path, "the text is empty"));
        }
        Ok(Self { files })
    }

    /// The texts, one per file. Reads every file once to check it.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the position of the first invalid UTF-8 byte.
    pub fn texts(&self) -> Result<Vec<Text<'_>>> {
        let check = |(path, map): &'_ (PathBuf, memmap2::Mmap)| {
            std::str::from_utf8(map).map(|_| ()).map_err(|e| {
                let reason = format!("not UTF-8 at byte {}; convert it first, as with iconv -t UTF-8", e.valid_up_to());
                Error::data(path, reason)
            })
        };
        self.files.iter().try_for_each(check)?;
        let text = |(path, map)| Text { path, text: str::from_utf8(map).unwrap_or_default() };
        Ok(self.files.iter().map(|(path, map)| text((path.as_path(), &map[..]))).collect())
    }

    /// Total bytes in all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, map)| map.len() as u64).sum()
    }

    /// A hash of the content, computed at memory speed; it depends on the text only, not on where it is stored.
    pub fn content_hash(&self) -> u64 {
        let mut hasher = Hasher::default();
        self.files.iter().for_each(|(_, map)| hasher.add(map));
        hasher.finish()
    }
}

/// One file's text.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its content.
    pub text: &'a str,
}

fn text_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "list"))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if !hidden && path.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Cuts a text into pieces of about `size` bytes that a byte-level BPE encodes to the same tokens as the whole.
///
/// A cut is made between a non-space character and a space, or between a letter or digit and any white space. The
/// word-splitting expressions of GPT-2, GPT-4, Llama 3 and Qwen all end a word there; they do not look back across the
/// cut, nor ahead across it from the word before. A stretch of 16 x `size` without such a place is cut anywhere.
pub fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(cut(rest, size));
        rest = after;
        Some(piece)
    })
}

fn cut(text: &str, size: usize) -> usize {
    let boundary = |at: usize| (at..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len());
    let (from, latest) = (boundary(size), boundary(size.saturating_mul(16)));
    let mut before = None;
    for (offset, c) in text[from..latest].char_indices() {
        let fits = |b: char| if c == ' ' { !b.is_whitespace() } else { c.is_whitespace() && b.is_alphanumeric() };
        if before.is_some_and(fits) {
            return from + offset;
        }
        before = Some(c);
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text() {
        let text = "one two  three\n\nvier fünf。\n六七 八".repeat(50);
        for size in [1, 7, 64, 100_000] {
            let parts: Vec<_> = pieces(&text, size).collect();
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().skip(1).all(|p| p.starts_with(char::is_whitespace)), "size {size}");
        }
        let endless = "永".repeat(1000);
        assert_eq!(pieces(&endless, 10).map(str::len).max(), Some(162));
    }

    #[test]
    fn bad_texts_name_file_and_byte() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Corpus::open(&dir.path().join(name)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(open("none").contains("no such file"));
        assert!(open("").contains("no .txt"));
        fs::write(dir.path().join("a.txt"), "").unwrap();
        assert!(open("").contains("empty") && open("a.txt").contains("empty"));
        fs::write(dir.path().join("b.txt"), b"abc\xff").unwrap();
        let text = Corpus::open(dir.path()).unwrap().texts().unwrap_err().to_string();
        assert!(text.contains("b.txt") && text.contains("byte 3"), "{text}");
    }

    #[test]
    fn folders_are_read_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", "c.md", ".d.txt"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let corpus = Corpus::open(dir.path()).unwrap();
        let texts: Vec<_> = corpus.texts().unwrap().iter().map(|t| t.text).collect();
        assert_eq!(texts, ["a.txt", "b.txt"]);
        assert_eq!(corpus.bytes(), 10);
    }
}
