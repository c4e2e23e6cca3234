//! A corpus: the texts of a data file, or of the data files of a folder in order of their names.

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    DataFile, Layout,
    data_file::{LONGEST, Unreadable, not_utf8},
    tokenizer::Hasher,
};
use crate::{Error, Result, trusted};

/// The files of a folder that belong to a corpus end in one of these.
const ENDINGS: &[&str] = &[".txt", ".jsonl", ".ndjson", ".json", ".parquet"];

/// Memory-mapped, checked texts.
#[derive(Debug)]
pub struct Corpus {
    files: Vec<Source>,
    /// Files of the folder that do not belong to the corpus.
    skipped: Vec<PathBuf>,
}

/// The texts of a file.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// UTF-8 with LF at the ends of lines: the file itself or, if it holds something else, a temporary file made of it.
    content: memmap2::Mmap,
    /// Where each document ends in `content`.
    ends: Vec<usize>,
}

impl Source {
    fn of(path: &Path, file: DataFile) -> Result<Self> {
        let layout = file.layout();
        if layout == Layout::Text && file.is_plain() && path.is_file() {
            let content = trusted::map(path)?;
            if !content.windows(2).any(|pair| pair == b"\r\n") {
                return Ok(Self { path: path.to_path_buf(), ends: vec![content.len()], content });
            }
        }
        let (content, ends) = match layout {
            Layout::Text => decoded(path, |out| copy_lines(file.into_reader(), out).map_err(Error::io(path, "read")))?,
            _ => decoded(path, |out| documents(file, path, out))?,
        };
        Ok(Self { path: path.to_path_buf(), content, ends })
    }
}

/// A temporary file with what `write` writes and returns the ends of.
fn decoded(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<Vec<usize>>,
) -> Result<(memmap2::Mmap, Vec<usize>)> {
    let failed = || Error::io(path, "decode into a temporary file");
    let file = tempfile::tempfile().map_err(failed())?;
    let mut out = BufWriter::new(&file);
    let ends = write(&mut out)?;
    out.flush().map_err(failed())?;
    drop(out);
    Ok((trusted::map_file(&file, path)?, ends))
}

/// Copies a text, with every CR LF as LF.
fn copy_lines(mut reader: impl Read, out: &mut impl Write) -> std::io::Result<Vec<usize>> {
    let (mut buffer, mut written, mut held) = (vec![0; 1 << 16], 0, false);
    loop {
        let count = reader.read(&mut buffer)?;
        for &byte in buffer.iter().take(count) {
            if held && byte != b'\n' {
                out.write_all(b"\r")?;
                written += 1;
            }
            held = byte == b'\r';
            if !held {
                out.write_all(&[byte])?;
                written += 1;
            }
        }
        if count == 0 {
            out.write_all(if held { b"\r" } else { b"" })?;
            return Ok(vec![written + usize::from(held)]);
        }
    }
}

/// Writes the texts of records, `{"text": ..}` or `{"content": ..}`, one after the other.
fn documents(file: DataFile, path: &Path, out: &mut impl Write) -> Result<Vec<usize>> {
    let (unit, mut ends, mut written) = (file.layout().unit(), Vec::new(), 0);
    file.records(
        |_| (),
        |number, record| {
            let wrong = |what: &str| Error::data(path, format!("{unit} {number} {what}"));
            let record = record.map_err(|unreadable| match unreadable {
                Unreadable::TooLong => wrong(&format!("has more than {LONGEST} bytes")),
                Unreadable::NotJson(error) => wrong(&format!("is not JSON: {error}")),
            })?;
            let text = ["text", "content"].iter().find_map(|name| record.get(name).and_then(Value::as_str));
            let text = text.or_else(|| record.as_str());
            let text = text.ok_or_else(|| match record.get("messages") {
                Some(_) => wrong("is a conversation, and a text is wanted: conversations are for fine-tuning"),
                None => wrong("has no \"text\" or \"content\""),
            })?;
            let text = text.replace("\r\n", "\n");
            out.write_all(text.as_bytes()).map_err(Error::io(path, "decode into a temporary file"))?;
            written += text.len();
            ends.push(written);
            Ok(())
        },
    )?;
    Ok(ends)
}

impl Corpus {
    /// Maps the text at `path`: a data file (see [`DataFile`]) whose records, if it has any, are documents `{"text": ..}`, or a
    /// folder of such files ending in `.txt`, `.jsonl`, `.ndjson`, `.json` or `.parquet`, all but the last also with `.gz` (see
    /// [`Corpus::skipped`]; hidden files and subfolders are ignored).
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] if there is nothing at `path`, all files are empty, or a record is not a document.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::data(path, "no such file or folder; give a text, or a folder of .txt files"));
        }
        if !path.is_dir() {
            return Self::of(path, DataFile::open(path)?);
        }
        let (paths, skipped) = data_files(path)?;
        let files = paths.iter().map(|path| Source::of(path, DataFile::open(path)?)).collect::<Result<Vec<_>>>()?;
        Self { files, skipped }.checked(path)
    }

    /// The texts of an open file, which messages call `path`.
    ///
    /// # Errors
    /// Returns the errors of [`Corpus::open`].
    pub fn of(path: &Path, file: DataFile) -> Result<Self> {
        Self { files: vec![Source::of(path, file)?], skipped: Vec::new() }.checked(path)
    }

    /// The files of a folder that do not belong to the corpus, by their names.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    fn checked(self, path: &Path) -> Result<Self> {
        let Self { files, .. } = &self;
        if files.is_empty() {
            return Err(Error::data(path, "no .txt, .jsonl, .json or .parquet file in this folder"));
        }
        if files.iter().all(|file| file.content.is_empty()) {
            return Err(Error::data(path, "the text is empty"));
        }
        Ok(self)
    }

    /// The texts, one per document: a file that is a text is one document. Reads every file once to check it.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the position of the first invalid UTF-8 byte.
    pub fn texts(&self) -> Result<Vec<Text<'_>>> {
        let mut texts = Vec::new();
        for Source { path, content, ends } in &self.files {
            let whole = str::from_utf8(content).map_err(|error| not_utf8(path, error.valid_up_to()))?;
            let starts = std::iter::once(&0).chain(ends);
            texts.extend(starts.zip(ends).map(|(&start, &end)| Text { path, text: &whole[start..end] }));
        }
        Ok(texts)
    }

    /// Total bytes in all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.content.len() as u64).sum()
    }

    /// A hash of the content, computed at memory speed; it depends on the texts only, not on where they are stored.
    pub fn content_hash(&self) -> u64 {
        let mut hasher = Hasher::default();
        for file in &self.files {
            hasher.add(&file.content);
            // The ends of documents are part of what is learned.
            if file.ends.len() > 1 {
                file.ends.iter().for_each(|&end| hasher.add(&(end as u64).to_le_bytes()));
            }
        }
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

/// The files of a folder that belong to a corpus, and those that do not.
fn data_files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "list"))?;
    let (mut paths, mut skipped) = (Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let plain = name.strip_suffix(".gz").filter(|plain| !plain.ends_with(".parquet")).unwrap_or(&name);
        if name.starts_with('.') || path.is_dir() {
            continue;
        }
        let belongs = path.is_file() && ENDINGS.iter().any(|ending| plain.ends_with(ending));
        if belongs { paths.push(path) } else { skipped.push(path) }
    }
    paths.sort();
    skipped.sort();
    Ok((paths, skipped))
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
        assert!(open("").contains("no .txt, .jsonl, .json or .parquet"));
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
        assert_eq!(corpus.skipped(), [dir.path().join("c.md")]);
        fs::write(dir.path().join("aa.json"), "[{\"text\": null, \"content\": \"x\"}]").unwrap();
        let corpus = Corpus::open(dir.path()).unwrap();
        assert_eq!(corpus.texts().unwrap().iter().map(|t| t.text).collect::<Vec<_>>(), ["a.txt", "x", "b.txt"]);
    }

    /// What is learned is the text, whatever form it has on disk.
    #[test]
    fn texts_and_records_give_the_same_documents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        let open = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let corpus = Corpus::open(&path)?;
            let texts = corpus.texts()?.iter().map(|text| text.text.to_string()).collect::<Vec<_>>();
            Ok::<_, Error>((texts, corpus.content_hash()))
        };
        let (text, hash) = open("a\n永\r!\n".as_bytes()).unwrap();
        assert_eq!(text, ["a\n永\r!\n"]);
        for bytes in ["\u{feff}a\n永\r!\n", "a\r\n永\r!\r\n", "{\"text\": \"a\\n永\\r!\\n\"}"] {
            assert_eq!(open(bytes.as_bytes()).unwrap(), (text.clone(), hash), "{bytes:?}");
        }
        assert_eq!(open(b"a\r\n\r").unwrap().0, ["a\n\r"]);
        let (two, other) = open(b"[{\"text\": \"a\\r\\n\"}, {\"content\": \"b\"}]").unwrap();
        assert_eq!(two, ["a\n", "b"]);
        assert_ne!(other, open(b"a\nb").unwrap().1);
        let error = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
        assert!(error(b"{\"text\": \"a\"}\n{\"title\": \"b\"}").contains("line 2 has no \"text\""));
        assert!(error(b"{\"messages\": []}").contains("fine-tuning"));
    }
}
