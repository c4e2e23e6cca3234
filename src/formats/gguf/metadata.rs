//! The metadata of a GGUF file, in file order and by key.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::value::{Array, Value};
use crate::{Error, Result};

/// Keys and values.
#[derive(Clone, Debug)]
pub struct Metadata {
    path: PathBuf,
    entries: Vec<(String, Value)>,
    by_key: BTreeMap<String, usize>,
}

/// The types a metadata value can be read as: `&str`, `bool`, `f32`, integers of any stored width (`u32`, `i32`, `u64`,
/// `usize`), `&[String]`, `Cow<[f32]>`, `Cow<[i32]>` (from signed or unsigned 32-bit integers that fit), and [`Array`].
pub trait FromValue<'a>: Sized {
    /// The type's name in error messages, such as "a text".
    const WANTED: &'static str;
    /// The value as this type, or [`None`] if it has another type.
    fn from_value(value: &'a Value) -> Option<Self>;
}

impl Metadata {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), entries: Vec::new(), by_key: BTreeMap::new() }
    }

    /// Adds an entry; returns false if the key already exists.
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        let fresh = self.by_key.insert(key.clone(), self.entries.len()).is_none();
        self.entries.push((key, value));
        fresh
    }

    /// Returns an error about this file's metadata unless `fine`.
    pub(super) fn check(&self, fine: bool, reason: impl FnOnce() -> String) -> Result<()> {
        if fine { Ok(()) } else { Err(Error::checkpoint(&self.path, reason())) }
    }

    /// All entries in file order.
    pub fn entries(&self) -> &[(String, Value)] {
        &self.entries
    }

    /// The value of a key, whatever its type.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.by_key.get(key).and_then(|&at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// The value of a key, as in `metadata.get::<u32>("llama.block_count")?`; [`None`] if the key is absent.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the value has another type or does not fit the requested one.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let wrong = || {
            let reason = format!("metadata '{key}' is {}, where {} is expected", value.kind_name(), T::WANTED);
            Error::checkpoint(&self.path, reason)
        };
        T::from_value(value).map(Some).ok_or_else(wrong)
    }

    /// The value of a required key.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the key is absent, and the errors of [`Metadata::get`].
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T> {
        self.get(key)?.ok_or_else(|| Error::checkpoint(&self.path, format!("metadata '{key}' is missing")))
    }
}

impl<'a> FromValue<'a> for &'a str {
    const WANTED: &'static str = "a text";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Str(text) = value { Some(text) } else { None }
    }
}

impl FromValue<'_> for bool {
    const WANTED: &'static str = "a bool";
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Bool(value) = value { Some(*value) } else { None }
    }
}

impl FromValue<'_> for f32 {
    const WANTED: &'static str = "a float";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::F32(value) => Some(*value),
            Value::F64(value) => Some(*value as f32),
            _ => None,
        }
    }
}

macro_rules! integers {
    ($($name:ident)*) => {$(
        impl FromValue<'_> for $name {
            const WANTED: &'static str = concat!("an integer that fits ", stringify!($name));
            fn from_value(value: &Value) -> Option<Self> {
                value.as_integer()?.try_into().ok()
            }
        }
    )*};
}
integers!(u32 i32 u64 usize);

impl<'a> FromValue<'a> for &'a Array {
    const WANTED: &'static str = "an array";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(array) = value { Some(array) } else { None }
    }
}

impl<'a> FromValue<'a> for &'a [String] {
    const WANTED: &'static str = "an array of texts";
    fn from_value(value: &'a Value) -> Option<Self> {
        if let Value::Array(Array::Str(texts)) = value { Some(texts) } else { None }
    }
}

impl<'a> FromValue<'a> for Cow<'a, [f32]> {
    const WANTED: &'static str = "an array of floats";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::F32(values)) => Some(Cow::Borrowed(values)),
            Value::Array(Array::F64(values)) => Some(values.iter().map(|&v| v as f32).collect()),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for Cow<'a, [i32]> {
    const WANTED: &'static str = "an array of 32-bit integers";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::I32(values)) => Some(Cow::Borrowed(values)),
            Value::Array(Array::U32(values)) => values.iter().map(|&v| v.try_into().ok()).collect(),
            _ => None,
        }
    }
}
