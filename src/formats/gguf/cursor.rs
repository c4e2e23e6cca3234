//! Reads numbers, texts and values from untrusted bytes.
//!
//! Nothing is allocated before the bytes to fill it are known to exist: a count is checked against the number of bytes
//! left, divided by the smallest possible size of an element.

use super::value::{Array, Value, kind};

/// The deepest allowed nesting of arrays.
const DEEPEST: usize = 8;

/// A position in a file's bytes. Errors say what is wrong; the caller adds the names of the file and field.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Found<T> = std::result::Result<T, String>;

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The position, counted from the beginning of the file.
    pub fn at(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: u64) -> Found<&'a [u8]> {
        let fits = usize::try_from(count).ok().filter(|&count| count <= self.left());
        let cut = || format!("wants {count} bytes at byte {} but the file ends after {}", self.at, self.left());
        let end = self.at + fits.ok_or_else(cut)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub fn fixed<const N: usize>(&mut self) -> Found<[u8; N]> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N as u64)?);
        Ok(fixed)
    }

    pub fn u32(&mut self) -> Found<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Found<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// Reads a count of elements that take at least `least` bytes each.
    pub fn count(&mut self, least: usize) -> Found<usize> {
        let count = self.u64()?;
        let possible = (self.left() / least) as u64;
        if count > possible {
            return Err(format!("claims {count} entries but the rest of the file holds {possible} at most"));
        }
        Ok(count as usize)
    }

    pub fn text(&mut self) -> Found<String> {
        let length = self.u64()?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|error| format!("holds a text that is not UTF-8 ({error})"))?;
        Ok(text.to_owned())
    }

    pub fn value(&mut self) -> Found<Value> {
        let kind = self.u32()?;
        Ok(match kind {
            kind::U8 => Value::U8(u8::from_le_bytes(self.fixed()?)),
            kind::I8 => Value::I8(i8::from_le_bytes(self.fixed()?)),
            kind::U16 => Value::U16(u16::from_le_bytes(self.fixed()?)),
            kind::I16 => Value::I16(i16::from_le_bytes(self.fixed()?)),
            kind::U32 => Value::U32(self.u32()?),
            kind::I32 => Value::I32(i32::from_le_bytes(self.fixed()?)),
            kind::U64 => Value::U64(self.u64()?),
            kind::I64 => Value::I64(i64::from_le_bytes(self.fixed()?)),
            kind::F32 => Value::F32(f32::from_le_bytes(self.fixed()?)),
            kind::F64 => Value::F64(f64::from_le_bytes(self.fixed()?)),
            kind::BOOL => Value::Bool(truth(self.fixed()?)?),
            kind::STR => Value::Str(self.text()?),
            kind::ARRAY => Value::Array(self.array(1)?),
            other => return Err(format!("has the unknown type {other}")),
        })
    }

    fn array(&mut self, depth: usize) -> Found<Array> {
        let kind = self.u32()?;
        if depth > DEEPEST {
            return Err(format!("nests arrays more than {DEEPEST} deep"));
        }
        Ok(match kind {
            kind::U8 => Array::U8(self.numbers(u8::from_le_bytes)?),
            kind::I8 => Array::I8(self.numbers(i8::from_le_bytes)?),
            kind::U16 => Array::U16(self.numbers(u16::from_le_bytes)?),
            kind::I16 => Array::I16(self.numbers(i16::from_le_bytes)?),
            kind::U32 => Array::U32(self.numbers(u32::from_le_bytes)?),
            kind::I32 => Array::I32(self.numbers(i32::from_le_bytes)?),
            kind::U64 => Array::U64(self.numbers(u64::from_le_bytes)?),
            kind::I64 => Array::I64(self.numbers(i64::from_le_bytes)?),
            kind::F32 => Array::F32(self.numbers(f32::from_le_bytes)?),
            kind::F64 => Array::F64(self.numbers(f64::from_le_bytes)?),
            kind::BOOL => Array::Bool(self.numbers(|byte| byte)?.into_iter().map(truth).collect::<Found<_>>()?),
            kind::STR => {
                let count = self.count(8)?;
                Array::Str((0..count).map(|_| self.text()).collect::<Found<_>>()?)
            }
            kind::ARRAY => {
                let count = self.count(12)?;
                Array::Array((0..count).map(|_| self.array(depth + 1)).collect::<Found<_>>()?)
            }
            other => return Err(format!("is an array of the unknown type {other}")),
        })
    }

    fn numbers<const N: usize, T>(&mut self, number: impl Fn([u8; N]) -> T) -> Found<Vec<T>> {
        let count = self.count(N)?;
        let bytes = self.take((count * N) as u64)?;
        Ok(bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect())
    }
}

fn truth([byte]: [u8; 1]) -> Found<bool> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("holds {other} where a bool is 0 or 1")),
    }
}
