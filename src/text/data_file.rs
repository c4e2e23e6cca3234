//! Data files as people have them. What a file holds is decided by its content: a text or JSON records, one per line, in a
//! list, or in a Parquet table; compressed with gzip or not; in UTF-8, with or without a byte order mark, or in UTF-16 with one.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    layout::{self, Layout},
    utf16::Utf16,
};
use crate::{Error, Result, content};

/// Length in bytes of the longest line accepted as a record.
pub const LONGEST: u64 = 1 << 24;

/// What a file holds is decided by this many bytes at its beginning.
const HEAD: u64 = 1 << 16;

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Its line is longer than [`LONGEST`].
    TooLong,
    /// Its line is not JSON; the parser's message.
    NotJson(String),
}

/// An open data file.
pub struct DataFile {
    path: PathBuf,
    layout: Layout,
    /// UTF-8 without a byte order mark, decompressed.
    reader: Box<dyn BufRead>,
    /// The first bytes of what `reader` returns.
    head: Vec<u8>,
    plain: bool,
    /// Bytes of the file that were read.
    bytes: Rc<Cell<u64>>,
}

impl DataFile {
    /// Opens the file at `path`, or standard input if `path` is `-`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] for a folder, a device, and a file whose first bytes show that it is something else.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Self::of(path, Box::new(io::stdin()));
        }
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let kind = file.metadata().map_err(Error::io(path, "open"))?.file_type();
        if kind.is_dir() {
            return Err(Error::data(path, "it is a folder; give a file"));
        }
        if !kind.is_file() && !is_pipe(kind) {
            return Err(Error::data(path, "it is a device; give a file"));
        }
        Self::of(path, Box::new(file))
    }

    /// Records in memory, a JSON value per line.
    pub fn of_lines(text: &str) -> Self {
        Self {
            path: PathBuf::from("the text"),
            layout: Layout::Lines,
            reader: Box::new(Cursor::new(text.as_bytes().to_vec())),
            head: Vec::new(),
            plain: true,
            bytes: Rc::default(),
        }
    }

    fn of(path: &Path, input: Box<dyn Read>) -> Result<Self> {
        let bytes = Rc::new(Cell::new(0));
        let (mut head, mut reader) = peek(Box::new(Counted { input, bytes: bytes.clone() }), path)?;
        let mut plain = true;
        if head.starts_with(content::GZIP) {
            plain = false;
            (head, reader) = peek(Box::new(flate2::read::MultiGzDecoder::new(reader)), path)?;
        }
        if let Some((mark, big)) =
            [(&[0xff, 0xfe], false), (&[0xfe, 0xff], true)].into_iter().find(|(mark, _)| head.starts_with(*mark))
        {
            if head.starts_with(&[0xff, 0xfe, 0, 0]) {
                return Err(Error::data(path, "it is UTF-32; convert it first, as with iconv -f UTF-32 -t UTF-8"));
            }
            plain = false;
            skip(&mut reader, mark.len(), path)?;
            (head, reader) = peek(Box::new(Utf16::new(reader, big, mark.len() as u64)), path)?;
        } else if head.starts_with(content::UTF8_MARK) {
            plain = false;
            skip(&mut reader, content::UTF8_MARK.len(), path)?;
            (head, reader) = peek(reader, path)?;
        }
        let table = head.starts_with(content::PARQUET);
        if table && !plain {
            return Err(Error::data(
                path,
                "it is a Parquet table compressed with gzip; decompress it first, with `gzip -d`",
            ));
        }
        if head.starts_with(content::GZIP) {
            return Err(Error::data(path, "it is gzip within gzip; decompress it once, with `gzip -d`"));
        }
        if let (false, Some(what)) = (table, content::foreign(&head)) {
            return Err(Error::data(path, what));
        }
        if head.iter().filter(|byte| **byte == 0).count() > head.len() / 4 {
            let reason = "a quarter of its bytes are NUL, as in UTF-16 without a byte order mark; convert it first, as with \
                iconv -f UTF-16LE -t UTF-8";
            return Err(Error::data(path, reason));
        }
        let layout = match table {
            true => Layout::Table,
            false => layout::decide(&head, head.len() as u64 == HEAD, path),
        };
        Ok(Self { path: path.to_path_buf(), layout, reader, head, plain, bytes })
    }

    /// What the file holds.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether the file's own bytes are what it holds: UTF-8 without a mark, not compressed.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The content as UTF-8 without a byte order mark, decompressed.
    pub fn into_reader(self) -> impl BufRead {
        self.reader
    }

    /// Calls `each` with the number of each record, counted from 1 (see [`Layout::unit`]), and the record. Only one record is
    /// in memory at a time. `progress` is called with the number of bytes of the file that were read.
    ///
    /// # Errors
    /// [`Error::Data`] if the file holds a text, or if a list or table cannot be read to its end; [`Error::Io`]; the errors of
    /// `each`.
    pub fn records(
        mut self,
        mut progress: impl FnMut(u64),
        mut each: impl FnMut(u64, Result<Value, Unreadable>) -> Result<()>,
    ) -> Result<()> {
        let (path, bytes) = (self.path, self.bytes);
        let mut each = |number, record| {
            progress(bytes.get());
            each(number, record)
        };
        match self.layout {
            Layout::Text => return Err(no_records(&path, &self.head)),
            Layout::Lines => lines(&mut self.reader, &path, &mut each)?,
            Layout::Values => {
                let values = serde_json::Deserializer::from_reader(self.reader).into_iter::<Value>();
                for (index, value) in values.enumerate() {
                    each(index as u64 + 1, Ok(value.map_err(not_json(&path))?))?;
                }
            }
            Layout::List => list(self.reader, &path, &mut each)?,
            Layout::Table => super::parquet::rows(&path, &mut |number, row| each(number, Ok(row)))?,
        }
        progress(bytes.get());
        Ok(())
    }

    /// The whole text, with every CR LF as LF.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] naming the first byte that is not UTF-8.
    pub fn text(self) -> Result<String> {
        self.text_within(u64::MAX)
    }

    /// Like [`DataFile::text`], for a text of at most `most` bytes.
    ///
    /// # Errors
    /// As [`DataFile::text`]; [`Error::Data`] for a longer text.
    pub fn text_within(self, most: u64) -> Result<String> {
        let mut bytes = Vec::new();
        self.reader.take(most).read_to_end(&mut bytes).map_err(Error::io(&self.path, "read"))?;
        if bytes.len() as u64 == most {
            return Err(Error::data(&self.path, format!("it has {most} bytes or more, which is too long here")));
        }
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(&self.path, error.utf8_error().valid_up_to()))?;
        Ok(if text.contains("\r\n") { text.replace("\r\n", "\n") } else { text })
    }
}

/// The error for a text that is not UTF-8 at byte `at`.
pub(super) fn not_utf8(path: &Path, at: usize) -> Error {
    Error::data(path, format!("not UTF-8 at byte {at}; convert it first, as with iconv -t UTF-8"))
}

fn not_json(path: &Path) -> impl Fn(serde_json::Error) -> Error {
    move |error| match error.classify() {
        serde_json::error::Category::Io => Error::io(path, "read")(error.into()),
        _ => Error::data(path, format!("not JSON: {error}")),
    }
}

/// The error for a file that should hold records and begins with `head`.
fn no_records(path: &Path, head: &[u8]) -> Error {
    if head.trim_ascii().is_empty() {
        let reason = match head.len() as u64 {
            0 => "the file is empty",
            HEAD => "the file begins with 64 KiB of white space",
            _ => "the file holds nothing but white space",
        };
        return Error::data(path, reason);
    }
    if let Some(what) = content::web_page(head) {
        return Error::data(path, what);
    }
    let start: String =
        String::from_utf8_lossy(head.get(..200).unwrap_or(head)).trim_start().chars().take(30).collect();
    Error::data(path, format!("neither JSON lines nor a JSON list: it begins with {start:?}"))
}

#[cfg(unix)]
fn is_pipe(kind: std::fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
fn is_pipe(_: std::fs::FileType) -> bool {
    false
}

/// The first bytes of `input`, and a reader that returns them again and then the rest.
fn peek(mut input: Box<dyn Read>, path: &Path) -> Result<(Vec<u8>, Box<dyn BufRead>)> {
    let mut head = Vec::new();
    input.by_ref().take(HEAD).read_to_end(&mut head).map_err(Error::io(path, "read"))?;
    let again = Cursor::new(head.clone()).chain(input);
    Ok((head, Box::new(BufReader::with_capacity(1 << 18, again))))
}

fn skip(reader: &mut impl Read, bytes: usize, path: &Path) -> Result<()> {
    io::copy(&mut reader.take(bytes as u64), &mut io::sink()).map(drop).map_err(Error::io(path, "read"))
}

type Each<'a> = dyn FnMut(u64, Result<Value, Unreadable>) -> Result<()> + 'a;

fn lines(reader: &mut impl BufRead, path: &Path, each: &mut Each<'_>) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        if !next_line(reader, &mut line).map_err(Error::io(path, "read"))? {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = match line.len() as u64 > LONGEST {
            true => Err(Unreadable::TooLong),
            false => serde_json::from_slice(&line).map_err(|error| Unreadable::NotJson(error.to_string())),
        };
        each(number, record)?;
    }
    Ok(())
}

/// Reads a line into `line`; returns whether there was one. If the line is too long, `line` gets a prefix that is also too
/// long, and the rest is skipped.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    reader.by_ref().take(LONGEST + 1).read_until(b'\n', line)?;
    while line.len() as u64 > LONGEST && line.last() != Some(&b'\n') {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let passed = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(passed);
        if end.is_some() || passed == 0 {
            break;
        }
    }
    Ok(!line.is_empty())
}

/// Calls `each` with the elements of a JSON list.
fn list(reader: impl Read, path: &Path, each: &mut Each<'_>) -> Result<()> {
    struct Elements<'a, 'b> {
        each: &'a mut Each<'b>,
        failed: &'a mut Option<Error>,
    }
    impl<'de> Visitor<'de> for Elements<'_, '_> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
            let mut number = 0;
            while let Some(value) = elements.next_element()? {
                number += 1;
                if let Err(error) = (self.each)(number, Ok(value)) {
                    *self.failed = Some(error);
                    return Err(serde::de::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }
    let mut failed = None;
    let mut json = serde_json::Deserializer::from_reader(reader);
    let read = json.deserialize_seq(Elements { each, failed: &mut failed }).and_then(|()| json.end());
    match failed {
        Some(error) => Err(error),
        None => read.map_err(not_json(path)),
    }
}

/// Counts the bytes that are read.
struct Counted {
    input: Box<dyn Read>,
    bytes: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.set(self.bytes.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    /// The number of each record, and the record, or whether its line is too long.
    type Found = Vec<(u64, Result<Value, bool>)>;

    fn records(name: &str, bytes: &[u8]) -> Result<(Layout, Found)> {
        let (_dir, path) = file(name, bytes);
        let (file, mut found, mut progress) = (DataFile::open(&path)?, Vec::new(), 0);
        let layout = file.layout();
        file.records(
            |bytes| progress = bytes,
            |number, record| {
                found.push((number, record.map_err(|why| matches!(why, Unreadable::TooLong))));
                Ok(())
            },
        )?;
        assert_eq!(progress, bytes.len() as u64);
        Ok((layout, found))
    }

    #[test]
    fn records_are_found_whatever_the_file_is_called() {
        let (a, b) = (json!({"text": "a\n[{"}), json!({"text": "永"}));
        let expected = vec![(1, Ok(a.clone())), (2, Ok(b.clone()))];
        let lines = format!("{a}\r\n{b}");
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        let list = pretty(&json!([a, b]));
        let values = format!("{}\n{}\n", pretty(&a), pretty(&b));
        for (text, layout) in [(&lines, Layout::Lines), (&list, Layout::List), (&values, Layout::Values)] {
            for name in ["a.jsonl", "a.json", "a.txt", "a"] {
                let forms = [
                    text.as_bytes().to_vec(),
                    [b"\xef\xbb\xbf", text.as_bytes()].concat(),
                    utf16(text, true),
                    utf16(text, false),
                ];
                for form in forms {
                    for bytes in [gzip(&form), form] {
                        assert_eq!(records(name, &bytes).unwrap(), (layout, expected.clone()), "{name}: {text}");
                    }
                }
            }
        }
        assert_eq!(records("a", b"[]").unwrap(), (Layout::List, vec![]));
    }

    #[test]
    fn lines_that_are_no_records_are_numbered() {
        let long = "x".repeat(LONGEST as usize);
        let text = format!("{{\"a\": 1}}\n\n{{\"a\": \n{{\"b\": \"{long}\"}}\n{{\"c\": 2}}");
        let (layout, found) = records("a.json", text.as_bytes()).unwrap();
        let expected = [(1, Ok(json!({"a": 1}))), (3, Err(false)), (4, Err(true)), (5, Ok(json!({"c": 2})))];
        assert_eq!((layout, &found[..]), (Layout::Lines, &expected[..]));
        // The first line may be the broken one, and the first record may be longer than what layouts are decided by.
        let (_, found) = records("a", b"{\"a\": \"b\n{\"c\": 2}\n").unwrap();
        assert_eq!(found, [(1, Err(false)), (2, Ok(json!({"c": 2})))]);
        let record = json!({ "text": "y".repeat(3 * HEAD as usize) });
        assert_eq!(records("a", record.to_string().as_bytes()).unwrap().0, Layout::Lines);
        assert_eq!(records("a", json!([record]).to_string().as_bytes()).unwrap().0, Layout::List);
        let broken = records("a", b"[{\"a\": 1},\n {\"a\" 2}]").unwrap_err().to_string();
        assert!(broken.contains("not JSON") && broken.contains("line 2 column 7"), "{broken}");
        for text in ["[{\"a\": NaN}, {\"b\": 1}]", "[{\"a\": 1", "[null, {\"a\": NaN}]"] {
            let error = records("a.txt", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("not JSON"), "{text}: {error}");
        }
        assert_eq!(records("a", b"[null, 3, {\"a\": 1}]").unwrap().1.len(), 3);
        // A mark does not change what a long first record is.
        let long = json!([{ "text": "y".repeat(3 * HEAD as usize) }]);
        for text in [long.to_string(), serde_json::to_string_pretty(&long[0]).unwrap()] {
            let plain = records("a", text.as_bytes()).unwrap();
            assert_eq!(records("a", format!("\u{feff}{text}").as_bytes()).unwrap(), plain);
        }
        let rest = records("a", b"[{\"a\": 1}]\n{}").unwrap_err().to_string();
        assert!(rest.contains("trailing characters at line 2"), "{rest}");
    }

    #[test]
    fn texts_are_read_in_every_encoding() {
        let text = "[SCENE 1]\n永 😀\n\r{x}\n";
        let crlf = text.replace('\n', "\r\n");
        let long = "永😀".repeat(5000);
        for text in [text, &long] {
            for form in [
                text.as_bytes().to_vec(),
                [b"\xef\xbb\xbf", text.as_bytes()].concat(),
                utf16(text, true),
                utf16(text, false),
            ] {
                for bytes in [gzip(&form), form] {
                    let (_dir, path) = file("a.json", &bytes);
                    let file = DataFile::open(&path).unwrap();
                    assert_eq!(file.layout(), Layout::Text);
                    assert_eq!(file.text().unwrap(), text);
                }
            }
        }
        for text in [
            "[\"Stop!\" he cried.]",
            "{\"Stop!\" he cried.}",
            "[\"a\"] is a list",
            "[] is empty",
            "{} is empty",
            "[[1, 2]] is a matrix",
        ] {
            let (_dir, path) = file("a.json", text.as_bytes());
            assert_eq!(DataFile::open(&path).unwrap().layout(), Layout::Text, "{text}");
        }
        let (_dir, path) = file("a", crlf.as_bytes());
        assert_eq!(DataFile::open(&path).unwrap().text().unwrap(), text);
    }

    #[test]
    fn other_files_are_named() {
        let error = |bytes: &[u8]| {
            let (_dir, path) = file("a.jsonl", bytes);
            DataFile::open(&path).and_then(DataFile::text).unwrap_err().to_string()
        };
        for (bytes, words) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a"[..], "git lfs pull"),
            (b"PK\x03\x04rest", "ZIP"),
            (b"\x28\xb5\x2f\xfdrest", "zstd -d"),
            (b"GGUF\x03\0\0\0", "GGUF model"),
            (b"SQLite format 3\0", "SQLite"),
            (b"\xff\xfe\0\0h\0\0\0", "UTF-32"),
            (b"abc\xff", "not UTF-8 at byte 3"),
            (b"\xff\xfea\0\0\xd8", "not UTF-16 at byte 4"),
            (b"\xff\xfea\0b", "not UTF-16 at byte 4"),
        ] {
            assert!(error(bytes).contains(words), "{} lacks {words}", error(bytes));
        }
        let none = |name: &str, bytes: &[u8]| records(name, bytes).unwrap_err().to_string();
        assert!(none("a.json", b"<!doctype html><p>Sign in").contains("web page"));
        assert!(none("a.json", b"").contains("empty") && none("a.json", b" \n\n").contains("nothing but white space"));
        assert!(none("a.json", &gzip(&gzip(b"a"))).contains("gzip within gzip"));
        assert!(none("a.json", &gzip(b"PAR1")).contains("Parquet table compressed with gzip"));
        assert!(none("a.json", &utf16("hello there", false)[2..]).contains("UTF-16 without"));
        assert!(none("a.json", b"Once upon a time").contains("it begins with \"Once upon a time\""));
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFile::open(dir.path()).err().unwrap().to_string();
        assert!(folder.contains("folder"), "{folder}");
        #[cfg(unix)]
        assert!(DataFile::open(Path::new("/dev/zero")).err().unwrap().to_string().contains("device"));
    }
}
