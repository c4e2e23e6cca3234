//! Tensors in safetensors files: 8 bytes of header length, a JSON header, then the raw little-endian data.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

pub use safetensors::Dtype;
use safetensors::{SafeTensors, tensor::Metadata};
use serde_json::{Map, Value, json};

use super::atomic;
use crate::{Error, Result, content::Content};

// Tensors are written and mapped in native byte order.
const _: () = assert!(cfg!(target_endian = "little"));

const OP: &str = "write tensors";

/// A tensor to write.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// Its name in the file, such as `h.0.attn.c_attn.weight`.
    pub name: &'a str,
    /// Its dimensions; their product is `data.len()`.
    pub shape: &'a [usize],
    /// Its elements, the last dimension varying fastest.
    pub data: &'a [f32],
}

/// A tensor of any type, to be written in parts.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its element type.
    pub dtype: Dtype,
}

impl Part {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// Writes an f32 safetensors file atomically. The same input gives the same bytes.
///
/// # Errors
/// [`Error::Shape`] if a shape does not match its data or a name is duplicated; [`Error::Io`], with the old file
/// intact.
pub fn write(path: &Path, tensors: &[NamedTensor<'_>], metadata: &BTreeMap<String, String>) -> Result<()> {
    write_parts(path, &single(tensors), metadata, |index| Ok(data_of(tensors, index)))
}

/// Writes a safetensors file atomically; `data` is called for the bytes of one part after the other.
///
/// # Errors
/// [`Error::Shape`] if a shape does not match its data or a name is duplicated, [`Error::Io`], and the errors of
/// `data`; the old file stays intact.
pub fn write_parts<'a>(
    path: &Path,
    parts: &[Part],
    metadata: &BTreeMap<String, String>,
    mut data: impl FnMut(usize) -> Result<Cow<'a, [u8]>>,
) -> Result<()> {
    let header = header(parts, metadata)?;
    atomic::write_with(path, |file| {
        fill(parts, &header, &mut data, |bytes| file.write_all(bytes).map_err(Error::io(path, "write")))
    })
}

/// The bytes of an f32 safetensors file.
///
/// # Errors
/// [`Error::Shape`], as for [`write()`].
pub fn to_bytes(tensors: &[NamedTensor<'_>], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let (parts, mut bytes) = (single(tensors), Vec::new());
    let mut data = |index: usize| Ok(data_of(tensors, index));
    fill(&parts, &header(&parts, metadata)?, &mut data, |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })?;
    Ok(bytes)
}

/// The bytes of one of the tensors, for a writer that was given all of them as parts.
#[expect(clippy::indexing_slicing, reason = "there are as many parts as tensors")]
fn data_of<'a>(tensors: &[NamedTensor<'a>], index: usize) -> Cow<'a, [u8]> {
    Cow::Borrowed(bytemuck::cast_slice(tensors[index].data))
}

/// The f32 tensors as parts.
fn single(tensors: &[NamedTensor<'_>]) -> Vec<Part> {
    let part = |t: &NamedTensor<'_>| Part { name: t.name.into(), shape: t.shape.to_vec(), dtype: Dtype::F32 };
    tensors.iter().map(part).collect()
}

fn fill<'a>(
    parts: &[Part],
    header: &[u8],
    data: &mut impl FnMut(usize) -> Result<Cow<'a, [u8]>>,
    mut put: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    put(&(header.len() as u64).to_le_bytes())?;
    put(header)?;
    for (index, part) in parts.iter().enumerate() {
        let bytes = data(index)?;
        if bytes.len() != part.bytes() {
            let reason =
                format!("'{}' is {:?} of {:?} but has {} bytes", part.name, part.shape, part.dtype, bytes.len());
            return Err(Error::shape(OP, reason));
        }
        put(&bytes)?;
    }
    Ok(())
}

fn header(parts: &[Part], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0;
    for part in parts {
        let end = start + part.bytes();
        let dtype = format!("{:?}", part.dtype);
        let entry = json!({"dtype": dtype, "shape": part.shape, "data_offsets": [start, end]});
        if entries.insert(part.name.clone(), entry).is_some() {
            return Err(Error::shape(OP, format!("'{}' comes twice", part.name)));
        }
        start = end;
    }
    let mut bytes = Value::Object(entries).to_string().into_bytes();
    // Padding aligns the data, so that it can be mapped as numbers.
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

/// A memory-mapped safetensors file. Tensors are read when they are requested.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    content: Content,
    header: Metadata,
    data_start: usize,
}

impl TensorFile {
    /// Opens a file and checks that its header is valid and its data complete.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::Checkpoint`] if it is truncated or not a safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(path, Content::map(path)?)
    }

    /// Parses a file's content; `path` is used in error messages only.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], as for [`TensorFile::open`].
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::of(path, Content::Bytes(bytes))
    }

    fn of(path: &Path, content: Content) -> Result<Self> {
        let (header_len, header) = SafeTensors::read_metadata(&content).map_err(|e| {
            let reason = format!("truncated, or not a safetensors file ({} bytes: {e})", content.len());
            Error::checkpoint(path, reason)
        })?;
        Ok(Self { path: path.to_path_buf(), content, header, data_start: 8 + header_len })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names in file order.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Whether the file has a tensor with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// The metadata in the header; empty if there are none.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// The dimensions of a tensor.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    /// A tensor's type and its bytes as stored in the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn stored(&self, name: &str) -> Result<(Dtype, &[u8])> {
        let bytes = self.content.get(self.range(name)?);
        let bytes = bytes.ok_or_else(|| Error::checkpoint(&self.path, format!("tensor '{name}' is cut off")))?;
        Ok((self.info(name)?.dtype, bytes))
    }

    /// Tells the operating system that a tensor's pages are no longer needed. They are read from the file again on the
    /// next access.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn release(&self, name: &str) -> Result<()> {
        self.content.release(self.range(name)?);
        Ok(())
    }

    fn range(&self, name: &str) -> Result<std::ops::Range<usize>> {
        let (start, end) = self.info(name)?.data_offsets;
        Ok(self.data_start + start..self.data_start + end)
    }

    /// A tensor's elements as f32, whether stored as F32, F16 or BF16.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor or it has another type.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let (dtype, bytes) = self.stored(name)?;
        // Files from other programs need not be aligned, so elements are read from bytes.
        let pairs = bytes.as_chunks::<2>().0.iter();
        match dtype {
            Dtype::F32 => Ok(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
            Dtype::F16 => Ok(pairs.map(|&b| half::f16::from_le_bytes(b).to_f32()).collect()),
            Dtype::BF16 => Ok(pairs.map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect()),
            other => {
                let reason = format!("tensor '{name}' is {other:?}; wgpt reads F32, F16 and BF16");
                Err(Error::checkpoint(&self.path, reason))
            }
        }
    }

    fn info(&self, name: &str) -> Result<&safetensors::tensor::TensorInfo> {
        self.header
            .info(name)
            .ok_or_else(|| Error::checkpoint(&self.path, format!("no tensor '{name}' in it; is it another model?")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn message<T>(result: Result<T>) -> String {
        result.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn round_trip_keeps_bits_names_and_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let odd = [f32::MIN_POSITIVE / 2.0, -0.0, f32::INFINITY, 1.1, 2.0, 3.0];
        let tensors = [
            NamedTensor { name: "z", shape: &[2, 3], data: &odd },
            NamedTensor { name: "a", shape: &[], data: &[5.0] },
            NamedTensor { name: "empty", shape: &[0, 4], data: &[] },
        ];
        let metadata: BTreeMap<_, _> = [("format".to_string(), "pt".to_string()), ("b".into(), "\"".into())].into();
        write(&path, &tensors, &metadata).unwrap();
        let bytes = fs::read(&path).unwrap();
        write(&path, &tensors, &metadata).unwrap();
        assert_eq!(bytes, fs::read(&path).unwrap());

        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.shape("z").unwrap(), [2, 3]);
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&file.to_f32("z").unwrap()), bits(&odd));
        assert_eq!(file.to_f32("a").unwrap(), [5.0]);
        assert!(file.to_f32("empty").unwrap().is_empty());
        assert_eq!(file.names()[0], "z");
        assert_eq!(file.metadata(), metadata);
        assert!(message(file.to_f32("w")).contains("no tensor 'w'"));
    }

    #[test]
    fn half_precision_and_unaligned_foreign_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("h.safetensors");
        let head = br#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"i":{"dtype":"I64","shape":[1],"data_offsets":[6,14]}}"#;
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(head);
        bytes.extend([0.5, -3.0].iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()));
        bytes.extend(half::bf16::from_f32(1e30).to_le_bytes());
        bytes.extend([0; 8]);
        fs::write(&path, &bytes).unwrap();
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.to_f32("h").unwrap(), [0.5, -3.0]);
        assert!((file.to_f32("b").unwrap()[0] / 1e30 - 1.0).abs() < 0.01);
        assert!(message(file.to_f32("i")).contains("I64"));
    }

    #[test]
    fn truncated_and_foreign_files_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        write(&path, &[NamedTensor { name: "x", shape: &[100], data: &[1.0; 100] }], &BTreeMap::new()).unwrap();
        let bytes = fs::read(&path).unwrap();
        for cut in [0, 5, 20, bytes.len() - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            let text = message(TensorFile::open(&path));
            assert!(text.contains("truncated") && text.contains(&format!("{cut} bytes")), "{cut}: {text}");
        }
        fs::write(&path, b"This is a plain text file, much longer than eight bytes.").unwrap();
        assert!(message(TensorFile::open(&path)).contains("not a safetensors file"));
        assert!(message(TensorFile::open(&dir.path().join("none"))).contains("cannot open"));
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let path = Path::new("never-written");
        let x = NamedTensor { name: "x", shape: &[3], data: &[1.0; 2] };
        assert!(message(write(path, &[x], &BTreeMap::new())).contains("[3]"));
        let y = NamedTensor { name: "y", shape: &[1], data: &[1.0] };
        assert!(message(write(path, &[y, y], &BTreeMap::new())).contains("twice"));
    }
}
