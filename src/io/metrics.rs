//! `metrics.jsonl`: one JSON object per line, readable while training runs and after a crash.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::atomic;
use crate::{Error, Result};

/// Appends to a metrics file.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Starts an empty file, replacing any existing one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self> {
        atomic::write(path, b"")?;
        Self::append_to(path)
    }

    /// Continues a file at `step`. Lines whose `"step"` is `step` or later (from an attempt that was lost) and an
    /// incomplete last line are dropped; the others stay as they are. A missing file is created.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] for a line that is not JSON.
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        let earlier = |line: &Value| line["step"].as_u64().is_none_or(|s| s < step);
        let mut kept = Vec::new();
        if path.exists() {
            each(path, |line, value| {
                if earlier(&value) {
                    kept.extend_from_slice(line.trim_ascii_end());
                    kept.push(b'\n');
                }
            })?;
        }
        atomic::write(path, &kept)?;
        Self::append_to(path)
    }

    fn append_to(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io(path, "open"))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Appends one line, visible to readers at once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, line: &Value) -> Result<()> {
        // One write call per line: a kill cannot leave two half lines.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(Error::io(&self.path, "write"))
    }
}

/// Reads all lines, except a last line that a crash cut short.
///
/// # Errors
/// [`Error::Io`], or [`Error::Data`] for any other line that is not JSON.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let mut lines = Vec::new();
    each(path, |_, value| lines.push(value))?;
    Ok(lines)
}

/// Calls `each` with every line, as it is and parsed, except a last line that a crash cut short. Only one line is in memory at a
/// time.
///
/// # Errors
/// [`Error::Io`], or [`Error::Data`] for any other line that is not JSON.
pub fn each(path: &Path, mut each: impl FnMut(&[u8], Value)) -> Result<()> {
    let mut reader = BufReader::new(File::open(path).map_err(Error::io(path, "open"))?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(Error::io(path, "read"))? == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => each(&line, value),
            Err(_) if !line.ends_with(b"\n") || line.trim_ascii().is_empty() => {}
            Err(e) => return Err(Error::data(path, format!("line {number} is not JSON: {e}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn resuming_drops_lost_and_cut_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/metrics.jsonl");
        let mut metrics = Metrics::create(&path).unwrap();
        // Parsing and printing would change this number's last digit.
        let note = "{\"note\": \"start\",  \"x\": 8.988465674311578e307}\n";
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(note.as_bytes()).unwrap();
        (0..5).for_each(|s| metrics.append(&json!({"step": s, "train_loss": 0.1_f32})).unwrap());
        assert_eq!(read(&path).unwrap().len(), 6);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\": 1, \"tr").unwrap();
        assert_eq!(read(&path).unwrap().len(), 6);

        let before = fs::read(&path).unwrap();
        let mut metrics = Metrics::resume(&path, 3).unwrap();
        assert!(before.starts_with(&fs::read(&path).unwrap()), "what is kept is kept byte for byte");
        metrics.append(&json!({"step": 3})).unwrap();
        let steps: Vec<_> = read(&path).unwrap().iter().map(|l| l["step"].as_u64()).collect();
        assert_eq!(steps, [None, Some(0), Some(1), Some(2), Some(3)]);
        assert!(Metrics::resume(&dir.path().join("new.jsonl"), 7).is_ok());
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, "{}\n{oops}\n{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 2"));
    }
}
