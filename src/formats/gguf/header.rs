//! Everything before the data of a GGUF file: version, metadata, and the position of each tensor, from untrusted bytes.
//!
//! Nothing is allocated before the bytes to fill it are known to exist: a count is checked against the number of bytes
//! left, divided by the smallest possible size of an element.

use std::{collections::BTreeMap, ops::Range, path::Path};

use super::{
    metadata::Metadata,
    value::{Array, Value, kind},
};
use crate::{Error, Result, formats::Format};

pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// Default alignment of the data and of each tensor in it; `general.alignment` overrides it.
const ALIGNMENT: u32 = 32;
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";
pub(super) const MAX_DIMENSIONS: usize = 4;
/// ggml types that wgpt does not read, listed for error messages.
const FOREIGN: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

/// Name, shape, format and position of a tensor.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    pub format: Format,
    /// Byte range in the file.
    pub range: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
    pub by_name: BTreeMap<String, usize>,
}

/// Parses the header of a file whose content is `bytes`, and checks that every tensor it names lies within them.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Header> {
    let wrong = |reason: String| Error::checkpoint(path, reason);
    let mut cursor = Cursor::new(bytes);
    let mut field = |name: &str| cursor.fixed::<4>().map_err(|reason| wrong(format!("{name} {reason}")));
    if field("the magic number")? != MAGIC {
        return Err(wrong("not a GGUF file (it does not begin with 'GGUF')".into()));
    }
    match u32::from_le_bytes(field("the version")?) {
        2 | 3 => {}
        big if big & 0xffff == 0 && big != 0 => {
            return Err(wrong("a big-endian GGUF file; wgpt reads little-endian ones, convert it first".into()));
        }
        other => return Err(wrong(format!("GGUF version {other}; wgpt reads versions 2 and 3"))),
    }
    // The smallest possible entries. Tensor: empty name (8), dimension count (4), type (4), offset (8). Metadata: empty
    // key (8), type (4), one byte. The tensor count is checked before the size of the metadata is known.
    let tensors = cursor.count(24).map_err(|reason| wrong(format!("the number of tensors {reason}")))?;
    let entries = cursor.count(13).map_err(|reason| wrong(format!("the number of metadata entries {reason}")))?;

    let mut metadata = Metadata::new(path);
    for i in 0..entries {
        let key = cursor.text().map_err(|reason| wrong(format!("the key of metadata entry {i} {reason}")))?;
        let value = cursor.value().map_err(|reason| wrong(format!("metadata '{}' {reason}", shown(&key))))?;
        if !metadata.insert(key.clone(), value) {
            return Err(wrong(format!("metadata '{}' comes twice", shown(&key))));
        }
    }
    let alignment = alignment(&metadata)?;

    let mut infos = Vec::new();
    let mut by_name = BTreeMap::new();
    for i in 0..tensors {
        let name = cursor.text().map_err(|reason| wrong(format!("the name of tensor {i} {reason}")))?;
        let info = tensor(name, &mut cursor, alignment as u64)
            .map_err(|(name, reason)| wrong(format!("tensor '{}' {reason}", shown(&name))))?;
        if by_name.insert(info.name.clone(), i).is_some() {
            return Err(wrong(format!("tensor '{}' comes twice", shown(&info.name))));
        }
        infos.push(info);
    }
    let tensors = place(infos, cursor.at().next_multiple_of(alignment), bytes.len()).map_err(wrong)?;
    Ok(Header { metadata, tensors, by_name })
}

/// Makes a name safe to print: a broken file may contain anything.
fn shown(name: &str) -> String {
    let mut short: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        short.push_str("...");
    }
    short
}

/// The alignment of the data, 32 bytes by default.
pub(super) fn alignment(metadata: &Metadata) -> Result<usize> {
    let alignment = metadata.get::<u32>(ALIGNMENT_KEY)?.unwrap_or(ALIGNMENT);
    metadata.check(alignment.is_power_of_two() && alignment <= 1 << 20, || {
        format!("metadata '{ALIGNMENT_KEY}' is {alignment}; it must be a power of two up to 2^20")
    })?;
    Ok(alignment as usize)
}

/// Reads a tensor's entry after its name. The returned range is still relative to the start of the data.
fn tensor(name: String, cursor: &mut Cursor<'_>, alignment: u64) -> Result<TensorInfo, (String, String)> {
    let mut read = || -> Result<_, String> {
        let dimensions = cursor.u32()? as usize;
        if dimensions > MAX_DIMENSIONS {
            return Err(format!("has {dimensions} dimensions; GGUF allows {MAX_DIMENSIONS}"));
        }
        let mut shape = vec![0; dimensions];
        for size in shape.iter_mut().rev() {
            *size = cursor.u64()?;
        }
        let (kind, offset) = (cursor.u32()?, cursor.u64()?);
        let format = Format::from_gguf_type(kind).ok_or_else(|| unknown(kind))?;
        let (shape, length) = measure(&shape, format)?;
        if offset % alignment != 0 {
            return Err(format!("has the offset {offset}, which is no multiple of {alignment}"));
        }
        let end = offset.checked_add(length as u64).and_then(|end| usize::try_from(end).ok());
        let end = end.ok_or_else(|| format!("has the impossible offset {offset}"))?;
        Ok((shape, format, offset as usize..end))
    };
    match read() {
        Ok((shape, format, range)) => Ok(TensorInfo { name, shape, format, range }),
        Err(reason) => Err((name, reason)),
    }
}

fn unknown(kind: u32) -> String {
    let known: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
    let name = FOREIGN.iter().find(|(id, _)| *id == kind).map_or("unknown", |(_, name)| name);
    format!("has the type {kind} ({name}); wgpt reads {}", known.join(", "))
}

/// The shape as `usize`, and the tensor's size in bytes.
pub(super) fn measure(shape: &[u64], format: Format) -> Result<(Vec<usize>, usize), String> {
    if shape.contains(&0) {
        return Err(format!("has the shape {shape:?}, with a dimension of 0"));
    }
    let width = shape.last().copied().unwrap_or(1);
    if width % format.block() as u64 != 0 {
        return Err(format!(
            "has rows of {width} elements, which are no whole blocks of {} ({format})",
            format.block()
        ));
    }
    let elements = shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    let bytes = elements.and_then(|count| (count / format.block() as u64).checked_mul(format.block_bytes() as u64));
    let fits = bytes.filter(|&bytes| bytes <= isize::MAX as u64);
    let bytes = fits.ok_or_else(|| format!("has the impossible shape {shape:?}"))?;
    Ok((shape.iter().map(|&size| size as usize).collect(), bytes as usize))
}

/// Makes the ranges relative to the start of the file, and checks that they lie within it and do not overlap.
fn place(mut tensors: Vec<TensorInfo>, data: usize, length: usize) -> Result<Vec<TensorInfo>, String> {
    let held = length.saturating_sub(data);
    for tensor in &mut tensors {
        let Range { start, end } = tensor.range;
        if end > held {
            let reason = format!("lies at {start}..{end} of the data, which is {held} bytes long: truncated?");
            return Err(format!("tensor '{}' {reason}", shown(&tensor.name)));
        }
        tensor.range = data + start..data + end;
    }
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.range.start);
    match order.iter().zip(order.iter().skip(1)).find(|(one, next)| one.range.end > next.range.start) {
        Some((one, next)) => Err(format!("tensors '{}' and '{}' overlap", shown(&one.name), shown(&next.name))),
        None => Ok(tensors),
    }
}

/// The deepest allowed nesting of arrays.
const DEEPEST: usize = 8;

/// A position in a file's bytes. Errors say what is wrong; the caller adds the names of the file and field.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Found<T> = std::result::Result<T, String>;

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The position, counted from the beginning of the file.
    fn at(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: u64) -> Found<&'a [u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let taken = end.and_then(|end| Some((self.bytes.get(self.at..end)?, end)));
        let cut = || format!("wants {count} bytes at byte {} but the file ends after {}", self.at, self.left());
        let (taken, end) = taken.ok_or_else(cut)?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Found<[u8; N]> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N as u64)?);
        Ok(fixed)
    }

    fn u32(&mut self) -> Found<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Found<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// Reads a count of elements that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Found<usize> {
        let count = self.u64()?;
        let possible = (self.left() / least) as u64;
        if count > possible {
            return Err(format!("claims {count} entries but the rest of the file holds {possible} at most"));
        }
        Ok(count as usize)
    }

    fn text(&mut self) -> Found<String> {
        let length = self.u64()?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|error| format!("holds a text that is not UTF-8 ({error})"))?;
        Ok(text.to_owned())
    }

    fn value(&mut self) -> Found<Value> {
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
