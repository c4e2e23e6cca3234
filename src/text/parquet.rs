//! The rows of Parquet tables, as many data sets are published.

use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// Calls `each` with the number of each row, from 1, and the row as a JSON object.
///
/// # Errors
/// [`Error::Data`] if the table cannot be read, or if the library was built without the feature `parquet`; [`Error::Io`]; the
/// errors of `each`.
#[cfg(feature = "parquet")]
pub(super) fn rows(path: &Path, each: &mut dyn FnMut(u64, Value) -> Result<()>) -> Result<()> {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    if path == Path::new("-") {
        return Err(Error::data(path, "a Parquet table is read from its end, so it cannot come from standard input"));
    }
    let wrong =
        |error: parquet::errors::ParquetError| Error::data(path, format!("this Parquet table cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(Error::io(path, "open"))?;
    let table = SerializedFileReader::new(file).map_err(wrong)?;
    for (index, row) in table.get_row_iter(None).map_err(wrong)?.enumerate() {
        each(index as u64 + 1, row.map_err(wrong)?.to_json_value())?;
    }
    Ok(())
}

/// The same, where Parquet cannot be read.
#[cfg(not(feature = "parquet"))]
pub(super) fn rows(path: &Path, _: &mut dyn FnMut(u64, Value) -> Result<()>) -> Result<()> {
    Err(Error::data(path, "it is a Parquet table, and this wgpt was built without Parquet"))
}
