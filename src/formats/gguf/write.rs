//! Writes GGUF files, version 3: the header first, then one tensor after the other.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

use super::{
    header::{ALIGNMENT_KEY, MAGIC, MAX_DIMENSIONS, alignment, measure},
    metadata::Metadata,
    value::{Array, Value, kind},
};
use crate::{Error, Result, formats::Format, io::atomic};

const OP: &str = "write GGUF";
const VERSION: u32 = 3;
/// ggml stores a name in 64 bytes, including the terminating zero.
const LONGEST_NAME: usize = 63;

/// A tensor to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name, at most 63 bytes.
    pub name: String,
    /// Its dimensions, outermost first; at most four.
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub format: Format,
}

/// Writes a file atomically. `fill` is called for each tensor in turn and writes its bytes (`rows * row_bytes`) in any
/// number of pieces. The data is aligned to 32 bytes, or to the metadata's `general.alignment`.
///
/// # Errors
/// [`Error::Shape`] for duplicate names or keys, shapes that GGUF cannot hold, or a `fill` that writes too much or too
/// little; [`Error::Io`]; whatever `fill` returns. An existing file is left intact on error.
pub fn write(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[TensorSpec],
    fill: impl FnMut(&TensorSpec, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    atomic::write_with(path, |file| write_to(file, path, metadata, tensors, fill))
}

/// Like [`write()`], but to any writer; `path` is used in error messages only.
///
/// # Errors
/// Returns the errors of [`write()`]; `out` may then contain a partial file.
pub fn write_to(
    out: &mut dyn Write,
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[TensorSpec],
    mut fill: impl FnMut(&TensorSpec, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    let alignment = checked_alignment(path, metadata)? as u64;
    let lengths = lengths(tensors)?;
    let header = header(metadata, tensors, &lengths, alignment)?;
    let mut counted = CountingWriter { inner: out, count: 0 };
    counted.write_all(&header).map_err(Error::io(path, "write"))?;
    counted.pad(alignment).map_err(Error::io(path, "write"))?;
    for (tensor, length) in tensors.iter().zip(lengths) {
        let before = counted.count;
        fill(tensor, &mut counted)?;
        let written = counted.count - before;
        if written != length {
            return Err(wrong(format!("'{}' takes {length} bytes but {written} were written", tensor.name)));
        }
        counted.pad(alignment).map_err(Error::io(path, "write"))?;
    }
    Ok(())
}

fn wrong(reason: String) -> Error {
    Error::shape(OP, reason)
}

fn checked_alignment(path: &Path, entries: &[(String, Value)]) -> Result<usize> {
    let mut metadata = Metadata::new(path);
    for (key, value) in entries {
        // Only the keys matter here, so long values are not copied.
        let value = if key == ALIGNMENT_KEY { value.clone() } else { Value::Bool(true) };
        if !metadata.insert(key.clone(), value) {
            return Err(wrong(format!("metadata '{key}' comes twice")));
        }
    }
    alignment(&metadata)
}

/// The size of each tensor in bytes.
fn lengths(tensors: &[TensorSpec]) -> Result<Vec<u64>> {
    let mut names = BTreeSet::new();
    let length = |TensorSpec { name, shape, format }: &TensorSpec| {
        if name.len() > LONGEST_NAME {
            return Err(format!("is longer than {LONGEST_NAME} bytes"));
        }
        if shape.is_empty() || shape.len() > MAX_DIMENSIONS {
            return Err(format!("has {} dimensions; GGUF holds 1 to {MAX_DIMENSIONS}", shape.len()));
        }
        let shape: Vec<_> = shape.iter().map(|&size| size as u64).collect();
        measure(&shape, *format).map(|(_, bytes)| bytes as u64)
    };
    tensors
        .iter()
        .map(|tensor| {
            if !names.insert(&tensor.name) {
                return Err(wrong(format!("tensor '{}' comes twice", tensor.name)));
            }
            length(tensor).map_err(|reason| wrong(format!("tensor '{}' {reason}", tensor.name)))
        })
        .collect()
}

fn header(entries: &[(String, Value)], tensors: &[TensorSpec], lengths: &[u64], alignment: u64) -> Result<Vec<u8>> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    for (key, value) in entries {
        put_text(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0u64;
    for (TensorSpec { name, shape, format }, length) in tensors.iter().zip(lengths) {
        put_text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
        out.extend(format.gguf_type().to_le_bytes());
        out.extend(offset.to_le_bytes());
        let end = offset.checked_add(*length).and_then(|end| end.checked_next_multiple_of(alignment));
        offset = end.ok_or_else(|| wrong(format!("tensor '{name}' does not fit into any file")))?;
    }
    Ok(out)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    fn put<const N: usize>(out: &mut Vec<u8>, kind: u32, bytes: [u8; N]) {
        out.extend(kind.to_le_bytes());
        out.extend(bytes);
    }
    match value {
        Value::U8(v) => put(out, kind::U8, v.to_le_bytes()),
        Value::I8(v) => put(out, kind::I8, v.to_le_bytes()),
        Value::U16(v) => put(out, kind::U16, v.to_le_bytes()),
        Value::I16(v) => put(out, kind::I16, v.to_le_bytes()),
        Value::U32(v) => put(out, kind::U32, v.to_le_bytes()),
        Value::I32(v) => put(out, kind::I32, v.to_le_bytes()),
        Value::U64(v) => put(out, kind::U64, v.to_le_bytes()),
        Value::I64(v) => put(out, kind::I64, v.to_le_bytes()),
        Value::F32(v) => put(out, kind::F32, v.to_le_bytes()),
        Value::F64(v) => put(out, kind::F64, v.to_le_bytes()),
        Value::Bool(v) => put(out, kind::BOOL, [u8::from(*v)]),
        Value::Str(text) => {
            put(out, kind::STR, []);
            put_text(out, text);
        }
        Value::Array(array) => {
            put(out, kind::ARRAY, []);
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let mut begin = |kind: u32| {
        out.extend(kind.to_le_bytes());
        out.extend((array.len() as u64).to_le_bytes());
    };
    macro_rules! numbers {
        ($kind:ident, $values:expr) => {{
            begin(kind::$kind);
            out.extend($values.iter().flat_map(|v| v.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(values) => numbers!(U8, values),
        Array::I8(values) => numbers!(I8, values),
        Array::U16(values) => numbers!(U16, values),
        Array::I16(values) => numbers!(I16, values),
        Array::U32(values) => numbers!(U32, values),
        Array::I32(values) => numbers!(I32, values),
        Array::U64(values) => numbers!(U64, values),
        Array::I64(values) => numbers!(I64, values),
        Array::F32(values) => numbers!(F32, values),
        Array::F64(values) => numbers!(F64, values),
        Array::Bool(values) => {
            begin(kind::BOOL);
            out.extend(values.iter().map(|&v| u8::from(v)));
        }
        Array::Str(texts) => {
            begin(kind::STR);
            texts.iter().for_each(|text| put_text(out, text));
        }
        Array::Array(arrays) => {
            begin(kind::ARRAY);
            arrays.iter().for_each(|array| put_array(out, array));
        }
    }
}

/// Counts the bytes that pass through.
struct CountingWriter<W> {
    inner: W,
    count: u64,
}

impl<W: Write> CountingWriter<W> {
    fn pad(&mut self, alignment: u64) -> io::Result<()> {
        let zeros = self.count.next_multiple_of(alignment) - self.count;
        io::copy(&mut io::Read::take(io::repeat(0), zeros), self).map(drop)
    }
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{GgufFile, quantise};

    fn spec(name: &str, shape: &[usize], format: Format) -> TensorSpec {
        TensorSpec { name: name.into(), shape: shape.into(), format }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let nested = Array::Array(vec![Array::Str(vec!["a".into(), String::new()]), Array::F64(vec![0.5])]);
        let metadata = [
            ("general.architecture".to_string(), Value::Str("llama".into())),
            ("general.alignment".into(), Value::U32(64)),
            ("x.count".into(), Value::I16(12)),
            ("x.negative".into(), Value::I64(-1)),
            ("x.nested".into(), Value::Array(nested)),
            ("x.ids".into(), Value::Array(Array::U32(vec![1, 2]))),
        ];
        let values: Vec<f32> = (0..256 * 3).map(|i| i as f32).collect();
        let tensors = [
            spec("matrix", &[3, 256], Format::Q4K),
            spec("odd", &[3], Format::F16),
            spec("vector", &[768], Format::F32),
        ];
        let fill = |tensor: &TensorSpec, out: &mut dyn Write| {
            let bytes = quantise(tensor.format, &values[..tensor.shape.iter().product()])?;
            let (first, second) = bytes.split_at(5);
            out.write_all(first).and_then(|()| out.write_all(second)).map_err(Error::io(&path, "write"))
        };
        write(&path, &metadata, &tensors, fill).unwrap();

        let file = GgufFile::open(&path).unwrap();
        assert_eq!(file.metadata().entries(), metadata);
        assert_eq!(file.metadata().require::<&str>("general.architecture").unwrap(), "llama");
        assert_eq!(file.metadata().require::<u32>("x.count").unwrap(), 12);
        assert!(file.metadata().get::<u32>("x.negative").unwrap_err().to_string().contains("'x.negative' is an i64"));
        assert_eq!(*file.metadata().require::<std::borrow::Cow<'_, [i32]>>("x.ids").unwrap(), [1, 2]);
        assert!(file.metadata().get::<f32>("no").unwrap().is_none());
        assert_eq!(file.names().collect::<Vec<_>>(), ["matrix", "odd", "vector"]);
        assert_eq!(file.shape("matrix").unwrap(), [3, 256]);
        let rows = file.rows("vector").unwrap();
        assert_eq!((rows.rows, rows.width), (1, 768));
        assert_eq!(rows.bytes.as_ptr() as usize % 64, 0);
        file.release("vector").unwrap();
        assert_eq!(rows.to_f32(), values);
        assert_eq!(file.rows("odd").unwrap().to_f32(), [0.0, 1.0, 2.0]);
        assert_eq!(file.rows("matrix").unwrap().rows, 3);
        assert!(file.rows("no").unwrap_err().to_string().contains("no tensor 'no'"));
    }

    #[test]
    fn what_gguf_cannot_hold_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let attempt = |metadata: &[(&str, Value)], tensors: &[TensorSpec]| {
            let metadata: Vec<_> = metadata.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect();
            write(&path, &metadata, tensors, |_, _| Ok(())).unwrap_err().to_string()
        };
        let one = |name: &str, shape: &[usize], format| attempt(&[], &[spec(name, shape, format)]);
        assert!(one("a", &[2], Format::F32).contains("8 bytes but 0"));
        assert!(one("a", &[2, 33], Format::Q8_0).contains("33 elements"));
        assert!(one("a", &[2, 0], Format::F32).contains("dimension of 0"));
        assert!(one("a", &[1; 5], Format::F32).contains("5 dimensions"));
        assert!(one("a", &[usize::MAX, usize::MAX], Format::F32).contains("impossible shape"));
        assert!(one(&"a".repeat(64), &[2], Format::F32).contains("63 bytes"));
        let twice = [spec("a", &[1], Format::F32), spec("a", &[1], Format::F32)];
        assert!(attempt(&[], &twice).contains("comes twice"));
        assert!(attempt(&[("k", Value::U8(1)), ("k", Value::U8(1))], &[]).contains("'k' comes twice"));
        assert!(attempt(&[("general.alignment", Value::U32(24))], &[]).contains("power of two"));
        assert!(!path.exists());
    }
}
