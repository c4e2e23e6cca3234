//! Data files as people have them. What a file holds is decided by its content: a text or JSON records, one per line, in a
//! list, or in a Parquet table; compressed with gzip or not; in UTF-8, with or without a byte order mark, or in UTF-16 with one.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;

use crate::{Error, Result, content};

/// Length in bytes of the longest line accepted as a record.
pub const LONGEST: u64 = 1 << 24;

/// What a file holds is decided by this many bytes at its beginning.
const HEAD: u64 = 1 << 16;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A text.
    Text,
    /// A JSON value per line.
    Lines,
    /// JSON values that may extend over several lines, one after the other.
    Values,
    /// A JSON list.
    List,
    /// A Parquet table.
    Table,
}

impl Layout {
    /// What the numbers of records count.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Text | Self::Lines => "line",
            Self::Values => "record",
            Self::List => "element",
            Self::Table => "row",
        }
    }
}

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
            (head, reader) =
                peek(Box::new(Utf16 { input: reader, big, at: mark.len() as u64, ready: Vec::new(), used: 0 }), path)?;
        } else if head.starts_with(content::UTF8_MARK) {
            plain = false;
            skip(&mut reader, content::UTF8_MARK.len(), path)?;
            head.drain(..content::UTF8_MARK.len());
        }
        let table = head.starts_with(content::PARQUET);
        if let (false, Some(what)) = (table, content::foreign(&head)) {
            return Err(Error::data(path, what));
        }
        let layout = match table {
            true => Layout::Table,
            false => layout(&head, path),
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
    pub fn text(mut self) -> Result<String> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).map_err(Error::io(&self.path, "read"))?;
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
        return Error::data(path, "the file is empty");
    }
    if let Some(what) = content::web_page(head) {
        return Error::data(path, what);
    }
    let start: String = String::from_utf8_lossy(&head[..head.len().min(200)]).trim_start().chars().take(30).collect();
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

/// What a file that begins with `head` holds.
fn layout(head: &[u8], path: &Path) -> Layout {
    let start = head.trim_ascii_start();
    let inner = start.get(1..).unwrap_or_default();
    let next = inner.trim_ascii_start().first();
    let json = |bytes: &[u8]| serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>().next();
    let whole = |value: Option<serde_json::Result<IgnoredAny>>| match value {
        // It may go on after `head`.
        Some(Err(error)) => error.is_eof() && head.len() as u64 == HEAD,
        Some(Ok(_)) => true,
        None => false,
    };
    match (start.first(), next) {
        (Some(b'{'), Some(b'"' | b'}')) => {
            let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let ends_here = serde_json::from_slice::<IgnoredAny>(line).is_ok() || line.len() == start.len();
            if ends_here || !whole(json(start)) { Layout::Lines } else { Layout::Values }
        }
        (Some(b'['), Some(b']')) => Layout::List,
        (Some(b'['), Some(b'{' | b'"' | b'[')) if whole(json(inner)) => Layout::List,
        // Only where the content says nothing does the name.
        _ if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("jsonl")) => Layout::Lines,
        _ => Layout::Text,
    }
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

/// Reads UTF-16 as UTF-8.
struct Utf16 {
    input: Box<dyn BufRead>,
    /// Whether the more significant byte comes first.
    big: bool,
    /// The position in the file of the next unit.
    at: u64,
    /// Decoded bytes, of which the first `used` were returned.
    ready: Vec<u8>,
    used: usize,
}

impl Utf16 {
    /// Up to `most` units; fewer at the end.
    fn units(&mut self, most: u64) -> io::Result<Vec<u16>> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(2 * most).read_to_end(&mut bytes)?;
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong(pairs.len()));
        }
        Ok(pairs
            .iter()
            .map(|&pair| if self.big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
            .collect())
    }

    /// The error for the unit `index` units further on.
    fn wrong(&self, index: usize) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-16 at byte {}", self.at + 2 * index as u64))
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.ready.len() {
            let mut units = self.units(4096)?;
            // A pair of surrogates is not torn apart.
            if units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit)) {
                units.extend(self.units(1)?);
            }
            let mut text = String::new();
            let mut index = 0;
            for letter in char::decode_utf16(units.iter().copied()) {
                let letter = letter.map_err(|_| self.wrong(index))?;
                index += letter.len_utf16();
                text.push(letter);
            }
            self.at += 2 * units.len() as u64;
            (self.ready, self.used) = (text.into_bytes(), 0);
        }
        let count = buffer.len().min(self.ready.len() - self.used);
        buffer[..count].copy_from_slice(&self.ready[self.used..self.used + count]);
        self.used += count;
        Ok(count)
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
        assert!(none("a.json", b"").contains("empty"));
        assert!(none("a.json", b"Once upon a time").contains("it begins with \"Once upon a time\""));
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFile::open(dir.path()).err().unwrap().to_string();
        assert!(folder.contains("folder"), "{folder}");
        #[cfg(unix)]
        assert!(DataFile::open(Path::new("/dev/zero")).err().unwrap().to_string().contains("device"));
    }
}
