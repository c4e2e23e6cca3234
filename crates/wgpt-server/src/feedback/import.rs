//! Imports ratings from data files into the store.

use std::path::Path;

use serde::Serialize;
use wgpt::{
    Result,
    feedback::{Mistake, Rating, Tally, read},
};

use super::store::Store;

/// Ratings per transaction: few enough to let other writers in, and enough not to sync to disk too often.
const BATCH: usize = 256;

/// The result of an import.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Imported {
    /// Number of records.
    #[serde(rename = "lines")]
    pub records: u64,
    /// What the numbers of records count, such as "line".
    pub unit: &'static str,
    /// Number of new ratings.
    pub added: u64,
    /// Ratings that were stored already, or that occur more than once in the file.
    pub duplicates: u64,
    /// Records that are not ratings, by the kind of mistake.
    pub mistakes: Tally<Mistake>,
}

/// Stores the ratings of a data file; see [`read`].
///
/// # Errors
/// [`wgpt::Error::Io`], [`wgpt::Error::Data`]; complete batches read before the error stay stored. Mistakes in records
/// are counted and are not errors.
pub fn import(store: &mut Store, path: &Path, rater: &str, progress: impl FnMut(u64)) -> Result<Imported> {
    let (mut done, mut batch) = (Imported::default(), Vec::new());
    let records = read(path, rater, progress, |number, rating| {
        match rating {
            Ok(rating) => batch.push(rating),
            Err(refusal) => done.mistakes.add(refusal.mistake, number, refusal.detail),
        }
        if batch.len() == BATCH {
            flush(store, &mut batch, &mut done)?;
        }
        Ok(())
    })?;
    flush(store, &mut batch, &mut done)?;
    (done.records, done.unit) = (records.count, records.unit);
    Ok(done)
}

fn flush(store: &mut Store, batch: &mut Vec<Rating>, done: &mut Imported) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let added = store.add_all(batch)?;
    done.added += added as u64;
    done.duplicates += (batch.len() - added) as u64;
    batch.clear();
    Ok(())
}

/// The ratings of a data file in a database in memory, for programs that only read. `progress` is called with the
/// bytes read so far.
///
/// # Errors
/// Returns the errors of [`import`].
pub fn in_memory(path: &Path, progress: impl FnMut(u64)) -> Result<(Store, Imported)> {
    let mut store = Store::in_memory(path)?;
    let imported = import(&mut store, path, "file", progress)?;
    Ok((store, imported))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_counted_with_their_first_line_and_duplicates_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pairs.jsonl");
        let good = r#"{"prompt": "Why?", "chosen": "So.", "rejected": "No."}"#;
        let same = r#"{"prompt": "Why?", "chosen": "So.", "rejected": "So."}"#;
        let long = format!("{{\"prompt\": \"{}\"}}", "x".repeat(1 << 24));
        std::fs::write(&path, format!("\u{feff}{good}\r\n\n{same}\nnonsense\n{long}\n{good}\n{same}")).unwrap();
        let mut store = Store::create(&dir.path().join("f")).unwrap();
        let mut heard = 0;
        let done = import(&mut store, &path, "file", |bytes| heard = bytes).unwrap();
        assert_eq!((done.records, done.added, done.duplicates), (6, 1, 1));
        let mistakes: Vec<_> =
            done.mistakes.iter().map(|(mistake, count)| (mistake, count.count, count.first)).collect();
        assert_eq!(mistakes, [(Mistake::NotJson, 1, 4), (Mistake::TooLong, 1, 5), (Mistake::EqualAnswers, 2, 3)]);
        assert_eq!(heard, std::fs::metadata(&path).unwrap().len());
        let again = import(&mut store, &path, "file", |_| ()).unwrap();
        assert_eq!((again.added, again.duplicates, store.count().unwrap()), (0, 2, 1));
        assert_eq!(import(&mut store, &path, "somebody else", |_| ()).unwrap().added, 1);
    }
}
