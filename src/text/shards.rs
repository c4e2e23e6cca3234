//! Token files: a text encoded once, from which training reads windows, or held in memory where there are no files.
//!
//! Layout, little-endian: `wgtk`, version u16, bytes per token u16, number of tokens u64, tokenizer fingerprint u64,
//! source key u64, then the tokens as u16 (vocabularies up to 65,536) or u32.
#![expect(clippy::indexing_slicing, reason = "a header of a fixed length")]

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Corpus, Tokenizer,
    corpus::{Text, pieces},
    tokenizer::Hasher,
};
use crate::{Error, Result, io::atomic};

const MAGIC: &[u8; 4] = b"wgtk";
const VERSION: u16 = 1;
const HEADER: usize = 32;
/// Bytes of text to encode between two calls of the progress callback.
const BLOCK: usize = 4 << 20;

/// Tokens in a file.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    tokens: Tokens,
    width: usize,
    count: usize,
    fingerprint: u64,
    source: u64,
}

impl TokenFile {
    /// Opens a token file and checks that it is complete.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] if it is truncated or not a token file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let length = file.metadata().map_err(Error::io(path, "open"))?.len();
        Self::of(path, Tokens::File(file), length)
    }

    fn of(path: &Path, tokens: Tokens, length: u64) -> Result<Self> {
        let mut header = [0; HEADER];
        if length < HEADER as u64 {
            return Err(Error::data(path, "not a token file"));
        }
        tokens.read(&mut header, 0).map_err(Error::io(path, "read"))?;
        if &header[..4] != MAGIC {
            return Err(Error::data(path, "not a token file"));
        }
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let (version, width, count) = (short(4), usize::from(short(6)), long(8));
        if version != VERSION || !matches!(width, 2 | 4) {
            return Err(Error::data(path, format!("token file of version {version} with {width}-byte tokens")));
        }
        let expected = u128::from(count) * width as u128 + HEADER as u128;
        if u128::from(length) != expected {
            let reason = format!("truncated token file: {length} bytes, and {count} tokens take {expected}");
            return Err(Error::data(path, reason));
        }
        let (count, fingerprint, source) = (count as usize, long(16), long(24));
        Ok(Self { path: path.to_path_buf(), width, count, fingerprint, source, tokens })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The fingerprint of the tokenizer that made the tokens.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Tokens `start..start + len`.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be read, as when the file was shortened meanwhile, or are beyond [`TokenFile::len`].
    pub fn slice(&self, start: usize, len: usize) -> Result<Vec<u32>> {
        let mut bytes = vec![0; len * self.width];
        let read = self.tokens.read(&mut bytes, (HEADER + start * self.width) as u64);
        read.map_err(Error::io(&self.path, "read tokens"))?;
        Ok(match self.width {
            2 => bytes.as_chunks::<2>().0.iter().map(|&b| u32::from(u16::from_le_bytes(b))).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect(),
        })
    }

    /// Returns [`Error::TooFewTokens`] if the file is too short for one window of `context` inputs and their targets.
    pub(super) fn check_window(&self, context: usize) -> Result<()> {
        if self.count > context {
            return Ok(());
        }
        Err(Error::TooFewTokens { path: self.path.clone(), tokens: self.count, context })
    }
}

/// Where the bytes of a token file are. A file is read and not mapped: if another program shortens it, reading fails, where
/// touching a mapped page would end the process.
#[derive(Debug)]
enum Tokens {
    File(File),
    Bytes(Vec<u8>),
}

impl Tokens {
    /// Fills `buffer` with the bytes from `at` on.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => read_at(file, buffer, at),
            Self::Bytes(bytes) => {
                let part = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => (buffer, at) = (&mut buffer[read..], at + read as u64),
        }
    }
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A text's tokens in two parts.
#[derive(Debug)]
pub struct Split {
    /// The part that is trained on.
    pub train: TokenFile,
    /// The tail, held out; empty if the fraction is 0.
    pub val: TokenFile,
}

impl Split {
    /// Checks that each part holds at least one window; an empty validation part is allowed.
    ///
    /// # Errors
    /// [`Error::TooFewTokens`].
    pub fn check_window(&self, context: usize) -> Result<()> {
        self.train.check_window(context)?;
        if self.val.is_empty() { Ok(()) } else { self.val.check_window(context) }
    }
}

/// Encodes the text at `data` (a UTF-8 file or a folder of `.txt` files) into `out/train.tokens` and `out/val.tokens`,
/// or opens these files if they were made from the same text with the same tokenizer.
///
/// The training part gets the first `floor((1 - val_fraction) chars)` characters, as in nanoGPT. Each file of a folder
/// ends with `<|endoftext|>` if the tokenizer has it. `progress` is called with the bytes done and the total.
///
/// # Errors
/// [`Error::Setting`] for a fraction outside [0, 1); [`Error::Data`] for a missing or empty text, one that is not
/// UTF-8, or one with a character that the tokenizer lacks; [`Error::Io`].
pub fn prepare(
    data: &Path,
    tokenizer: &Tokenizer,
    out: &Path,
    val_fraction: f64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Split> {
    check_fraction(val_fraction)?;
    let corpus = Corpus::open(data)?;
    let fingerprint = tokenizer.fingerprint();
    let mut hasher = Hasher::default();
    hasher.add(&corpus.content_hash().to_le_bytes());
    hasher.add(&val_fraction.to_le_bytes());
    let source = hasher.finish();
    let (train, val) = (out.join("train.tokens"), out.join("val.tokens"));
    let made_of_this = |path: &Path| {
        TokenFile::open(path).ok().filter(|file| file.fingerprint == fingerprint && file.source == source)
    };
    if let (Some(train), Some(val)) = (made_of_this(&train), made_of_this(&val)) {
        return Ok(Split { train, val });
    }

    let texts = corpus.texts()?;
    let (head, tail) = split(&texts, val_fraction);
    let separator = tokenizer.end_of_text().filter(|_| texts.len() > 1);
    let mut encoder = Encoder { tokenizer, fingerprint, source, separator, progress, done: 0, total: corpus.bytes() };
    encoder.write(&train, &head)?;
    encoder.write(&val, &tail)?;
    Ok(Split { train: TokenFile::open(&train)?, val: TokenFile::open(&val)? })
}

/// Like [`prepare`], for a text in memory.
///
/// # Errors
/// Returns the errors of [`prepare`], except those of files.
pub fn in_memory(text: &str, tokenizer: &Tokenizer, val_fraction: f64) -> Result<Split> {
    check_fraction(val_fraction)?;
    let whole = Text { path: Path::new("the text"), text };
    if text.is_empty() {
        return Err(Error::data(whole.path, "it is empty"));
    }
    let (head, tail) = split(&[whole], val_fraction);
    let (fingerprint, total, progress) = (tokenizer.fingerprint(), text.len() as u64, &mut |_, _| ());
    let mut encoder = Encoder { tokenizer, fingerprint, source: 0, separator: None, progress, done: 0, total };
    let mut part = |parts: &[Part<'_>]| {
        let mut bytes = vec![0; HEADER];
        let count = encoder.tokens(parts, &mut |tokens| {
            bytes.extend_from_slice(tokens);
            Ok(())
        })?;
        bytes[..HEADER].copy_from_slice(&encoder.header(count));
        let length = bytes.len() as u64;
        TokenFile::of(whole.path, Tokens::Bytes(bytes), length)
    };
    Ok(Split { train: part(&head)?, val: part(&tail)? })
}

fn check_fraction(val_fraction: f64) -> Result<()> {
    let wrong = || Error::setting("val_fraction", val_fraction, "give 0 or more and less than 1");
    if (0.0..1.0).contains(&val_fraction) { Ok(()) } else { Err(wrong()) }
}

/// Part of a file: the file's text, and the byte range of the part.
struct Part<'a> {
    whole: Text<'a>,
    start: usize,
    end: usize,
}

/// Splits texts after `floor((1 - val_fraction) chars)` characters.
fn split<'a>(texts: &[Text<'a>], val_fraction: f64) -> (Vec<Part<'a>>, Vec<Part<'a>>) {
    let all: usize = texts.iter().map(|text| text.text.chars().count()).sum();
    let mut chars = ((1.0 - val_fraction) * all as f64) as usize;
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for &whole in texts {
        let len = whole.text.len();
        // The byte after `chars` characters; if this text has fewer, the rest is taken from the next ones.
        let at = whole.text.char_indices().nth(chars).map_or(len, |(at, _)| at);
        chars -= if at == len { whole.text.chars().count() } else { chars };
        let part = |start, end| Part { whole, start, end };
        head.extend((at > 0).then(|| part(0, at)));
        tail.extend((at < len).then(|| part(at, len)));
    }
    (head, tail)
}

struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    fingerprint: u64,
    source: u64,
    separator: Option<u32>,
    progress: &'a mut dyn FnMut(u64, u64),
    done: u64,
    total: u64,
}

impl Encoder<'_> {
    fn write(&mut self, path: &Path, parts: &[Part<'_>]) -> Result<()> {
        atomic::write_with(path, |file| {
            // The header is filled in later, once the tokens have been counted.
            file.write_all(&[0; HEADER]).map_err(Error::io(path, "write"))?;
            let count = self.tokens(parts, &mut |bytes| file.write_all(bytes).map_err(Error::io(path, "write")))?;
            file.seek(SeekFrom::Start(0)).map_err(Error::io(path, "write"))?;
            file.write_all(&self.header(count)).map_err(Error::io(path, "write"))
        })
    }

    /// Bytes per token.
    fn width(&self) -> u16 {
        if self.tokenizer.vocab_size() <= 1 << 16 { 2 } else { 4 }
    }

    /// Encodes parts, passes their tokens to `put` as bytes, and returns how many there are.
    fn tokens(&mut self, parts: &[Part<'_>], put: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let (width, mut count) = (self.width(), 0);
        for part in parts {
            self.encode(part, &mut |ids: &[u32]| {
                count += ids.len() as u64;
                let bytes: Vec<u8> = if width == 2 {
                    ids.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect()
                } else {
                    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
                };
                put(&bytes)
            })?;
        }
        Ok(count)
    }

    fn header(&self, count: u64) -> Vec<u8> {
        let mut header = Vec::from(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(self.width().to_le_bytes());
        header.extend([count, self.fingerprint, self.source].iter().flat_map(|field| field.to_le_bytes()));
        header
    }

    fn encode(&mut self, part: &Part<'_>, put: &mut dyn FnMut(&[u32]) -> Result<()>) -> Result<()> {
        let mut start = part.start;
        for piece in pieces(&part.whole.text[part.start..part.end], BLOCK) {
            let ids = self.tokenizer.encode_at(piece, start as u64).map_err(|e| match e {
                Error::Tokenizer(reason) => Error::data(part.whole.path, reason),
                other => other,
            })?;
            put(&ids)?;
            start += piece.len();
            self.done += piece.len() as u64;
            (self.progress)(self.done, self.total);
        }
        let separator = self.separator.filter(|_| part.end == part.whole.text.len());
        separator.map_or(Ok(()), |id| put(&[id]))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn quiet(data: &Path, tokenizer: &Tokenizer, out: &Path, fraction: f64) -> Result<Split> {
        prepare(data, tokenizer, out, fraction, &mut |_, _| {})
    }

    #[test]
    fn a_text_in_memory_has_the_tokens_of_a_file() {
        let (dir, text) = (tempfile::tempdir().unwrap(), "Sein oder nicht sein, 这是个问题。".repeat(9));
        let data = dir.path().join("t.txt");
        fs::write(&data, &text).unwrap();
        let tokenizer = Tokenizer::chars_of([text.as_str()]).unwrap();
        let file = prepare(&data, &tokenizer, dir.path(), 0.1, &mut |_, _| {}).unwrap();
        let memory = in_memory(&text, &tokenizer, 0.1).unwrap();
        for (file, memory) in [(&file.train, &memory.train), (&file.val, &memory.val)] {
            assert!(!file.is_empty() && file.slice(0, file.len()).unwrap() == memory.slice(0, memory.len()).unwrap());
        }
        assert!(in_memory("", &tokenizer, 0.1).is_err() && in_memory("a", &tokenizer, 1.0).is_err());
    }

    #[test]
    fn the_tail_is_held_out_by_characters() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("t.txt");
        fs::write(&data, "話話話話話話話話ab").unwrap();
        let t = Tokenizer::chars_of(["話ab"]).unwrap();
        let split = quiet(&data, &t, dir.path(), 0.25).unwrap();
        assert_eq!(split.train.slice(0, split.train.len()).unwrap(), [2; 7]);
        assert_eq!(split.val.slice(0, 3).unwrap(), [2, 0, 1]);
        assert_eq!(split.val.slice(1, 1).unwrap(), [0]);
        split.check_window(2).unwrap();
        let text = split.check_window(3).unwrap_err().to_string();
        assert!(text.contains("3 tokens") && text.contains("takes 4") && text.contains("val"), "{text}");
        let all = quiet(&data, &t, dir.path(), 0.0).unwrap();
        assert_eq!((all.train.len(), all.val.len()), (10, 0));
        all.check_window(9).unwrap();
        assert!(quiet(&data, &t, dir.path(), 1.0).is_err());
    }

    #[test]
    fn shards_are_reused_until_text_tokenizer_or_fraction_change() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("t.txt");
        let mut t = Tokenizer::chars_of(["abc"]).unwrap();
        let encoded = |text: &str, t: &Tokenizer, fraction: f64| {
            fs::write(&data, text).unwrap();
            let mut calls = Vec::new();
            prepare(&data, t, dir.path(), fraction, &mut |done, total| calls.push((done, total))).unwrap();
            assert!(calls.last().is_none_or(|&last| last == (text.len() as u64, text.len() as u64)));
            !calls.is_empty()
        };
        assert!(encoded("abcabc", &t, 0.5));
        assert!(!encoded("abcabc", &t, 0.5));
        assert!(encoded("abcabb", &t, 0.5));
        assert!(encoded("abcabb", &t, 0.4));
        t = Tokenizer::chars_of(["abcd"]).unwrap();
        assert!(encoded("abcabb", &t, 0.4));
        let train = dir.path().join("train.tokens");
        let bytes = fs::read(&train).unwrap();
        let open = TokenFile::open(&train).unwrap();
        let last = open.len() - 1;
        fs::write(&train, &bytes[..bytes.len() - 1]).unwrap();
        assert!(TokenFile::open(&train).unwrap_err().to_string().contains("truncated"));
        // Also while it was open: an error, not a signal.
        assert!(open.slice(last, 1).unwrap_err().to_string().contains("read tokens"));
        assert!(encoded("abcabb", &t, 0.4));
    }

    #[test]
    fn folders_are_split_across_files_and_separated() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        ["ab", "", "cd", "ef"]
            .iter()
            .enumerate()
            .for_each(|(i, s)| fs::write(data.join(format!("{i}.txt")), s).unwrap());
        let t = Tokenizer::train_bpe(["x"].into_iter(), 257, &["<|endoftext|>"]).unwrap();
        let split = quiet(&data, &t, dir.path(), 0.5).unwrap();
        let text = |f: &TokenFile| t.decode(&f.slice(0, f.len()).unwrap());
        assert_eq!(
            (text(&split.train), text(&split.val)),
            ("ab<|endoftext|>c".into(), "d<|endoftext|>ef<|endoftext|>".into())
        );
        let text = quiet(&data, &Tokenizer::chars_of(["abc"]).unwrap(), dir.path(), 0.1).unwrap_err().to_string();
        assert!(text.contains("2.txt") && text.contains("'d'") && text.contains("byte 1"), "{text}");
    }

    #[test]
    fn large_vocabularies_take_four_bytes() {
        let chars: String = ('\u{20}'..'\u{11000}').collect();
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("t.txt");
        fs::write(&data, "\u{10fff}a").unwrap();
        let split = quiet(&data, &Tokenizer::chars_of([chars.as_str()]).unwrap(), dir.path(), 0.0).unwrap();
        assert_eq!(split.train.slice(0, 2).unwrap(), [0x11000 - 0x20 - 0x800 - 1, 0x41]);
    }
}
