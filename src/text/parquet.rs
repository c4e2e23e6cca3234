//! The rows of Parquet tables, as many data sets are published.

use std::path::Path;

#[cfg(feature = "parquet")]
use parquet::record::Field;
use serde_json::Value;

use crate::{Error, Result};

/// Calls `each` with the number of each row, from 1, and the row as a JSON object.
///
/// # Errors
/// [`Error::Data`] if the table cannot be read, or if the library was built without the feature `parquet`; [`Error::Io`]; the
/// errors of `each`.
#[cfg(feature = "parquet")]
pub(super) fn rows(path: &Path, each: &mut dyn FnMut(u64, Value) -> Result<()>) -> Result<()> {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    // The library's reader of pages asserts what a damaged file does not keep. What `each` has done so far stays done.
    catch_unwind(AssertUnwindSafe(|| read(path, each)))
        .unwrap_or_else(|_| Err(Error::data(path, "this Parquet table cannot be read: a page of it is damaged")))
}

#[cfg(feature = "parquet")]
fn read(path: &Path, each: &mut dyn FnMut(u64, Value) -> Result<()>) -> Result<()> {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    if !path.is_file() {
        return Err(Error::data(
            path,
            "a Parquet table is read from its end, so it cannot come through a pipe; give a file",
        ));
    }
    let wrong =
        |error: parquet::errors::ParquetError| Error::data(path, format!("this Parquet table cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(Error::io(path, "open"))?;
    let table = SerializedFileReader::new(file).map_err(wrong)?;
    // The library takes it for granted that these are not negative.
    let mut columns = table.metadata().row_groups().iter().flat_map(|group| group.columns());
    if columns.any(|column| {
        let offsets =
            [Some(column.data_page_offset()), column.dictionary_page_offset(), Some(column.compressed_size())];
        offsets.into_iter().flatten().any(|offset| offset < 0)
    }) {
        return Err(Error::data(
            path,
            "this Parquet table cannot be read: a column lies before the beginning of the file",
        ));
    }
    for (index, row) in table.get_row_iter(None).map_err(wrong)?.enumerate() {
        let row = row.map_err(wrong)?;
        let value =
            value(&Field::Group(row)).map_err(|what| Error::data(path, format!("row {}: {what}", index + 1)))?;
        each(index as u64 + 1, value)?;
    }
    Ok(())
}

/// A value as JSON; texts may be stored as bytes.
#[cfg(feature = "parquet")]
fn value(field: &Field) -> Result<Value, String> {
    Ok(match field {
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::String(text.to_string()),
            Err(_) => return Err("it has binary data, which is no text".to_string()),
        },
        Field::Group(row) => {
            let named = row.get_column_iter().map(|(name, field)| Ok((name.clone(), value(field)?)));
            Value::Object(named.collect::<Result<_, String>>()?)
        }
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect::<Result<_, _>>()?),
        other => other.to_json_value(),
    })
}

/// The same, where Parquet cannot be read.
#[cfg(not(feature = "parquet"))]
pub(super) fn rows(path: &Path, _: &mut dyn FnMut(u64, Value) -> Result<()>) -> Result<()> {
    Err(Error::data(path, "it is a Parquet table, and this wgpt was built without Parquet"))
}
