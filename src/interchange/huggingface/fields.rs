//! Fields of a config.json, and errors that name them.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Result};

/// An object of a JSON file.
pub(super) struct Fields<'a> {
    /// The file's path, for error messages.
    pub path: &'a Path,
    /// The prefix of field names in error messages, such as `rope_parameters.`.
    pub prefix: &'static str,
    /// The object.
    pub value: &'a Value,
}

impl<'a> Fields<'a> {
    /// An error about a field with an unsupported value.
    pub fn refuse(&self, name: &str, computes: &str) -> Error {
        let value = self.value.get(name).unwrap_or(&Value::Null);
        Error::checkpoint(self.path, format!("{}{name} is {value}; wgpt computes {computes}", self.prefix))
    }

    /// A field; [`None`] if it is absent or null.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.value.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        let wrong = |error| Error::checkpoint(self.path, format!("{}{name} is {value}: {error}", self.prefix));
        serde_json::from_value(value.clone()).map(Some).map_err(wrong)
    }

    /// A required field.
    pub fn require<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let missing = || Error::checkpoint(self.path, format!("{}{name} is missing", self.prefix));
        self.get(name)?.ok_or_else(missing)
    }

    /// Refuses a field that is present and not null, unless `fine`.
    pub fn only(&self, name: &str, fine: impl Fn(&Value) -> bool, computes: &str) -> Result<()> {
        match self.value.get(name) {
            Some(value) if !value.is_null() && !fine(value) => Err(self.refuse(name, computes)),
            _ => Ok(()),
        }
    }

    /// A nested object.
    pub fn object(&self, name: &str, prefix: &'static str) -> Result<Option<Fields<'a>>> {
        match self.value.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(Fields { path: self.path, prefix, value })),
            Some(_) => Err(self.refuse(name, "an object there")),
        }
    }
}
