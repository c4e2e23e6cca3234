//! Writes files and folders that appear completely or not at all, even if the program is killed or the disk is full.
//!
//! Content is written under a temporary name in the same folder, synced to disk, then renamed; the folder is synced
//! last, so that the rename itself survives a power failure.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{Error, Result};

/// Prefix of every temporary name.
const TEMPORARY: &str = ".tmp-";
/// A temporary file older than this belongs to a dead process.
const STALE: Duration = Duration::from_secs(3600);

/// Writes `bytes` to `path`, replacing any existing file, and creates missing parent folders.
///
/// # Errors
/// [`Error::Io`]; the old file is then intact and no temporary file is left.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes).map_err(Error::io(path, "write")))
}

/// Writes `path` with `fill`, replacing any existing file, and creates missing parent folders.
///
/// # Errors
/// [`Error::Io`], or the error of `fill`; the old file is then intact and no temporary file is left.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| Error::Usage(format!("{} is not a file name", path.display())))?;
    let folder = parent(path);
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let prefix = format!("{TEMPORARY}{}-", name.to_string_lossy());
    remove_stale(folder, &prefix);
    let (temporary, file) = loop {
        let unique = format!("{prefix}{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let unique = folder.join(unique);
        // What has this name already is not ours, or was left by a dead process of the same number.
        match OpenOptions::new().write(true).create_new(true).open(&unique) {
            Ok(file) => break (Temporary(unique), file),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(path, "create")(error)),
        }
    };
    let mut buffered = BufWriter::with_capacity(1 << 20, file);
    fill(&mut buffered)?;
    let file = buffered.into_inner().map_err(|e| Error::io(path, "write")(e.into_error()))?;
    file.sync_all().map_err(Error::io(path, "write to disk"))?;
    drop(file);
    fs::rename(&temporary.0, path).map_err(Error::io(path, "replace"))?;
    sync_folder(folder)
}

/// Creates a folder, and missing parents, that only its owner can read, since it holds people's texts. A folder that
/// exists stays as it is.
///
/// # Errors
/// [`Error::Io`].
pub fn private_folder(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(Error::io(path, "create"))
}

/// Creates the folder `parent/name` with `fill`, which gets a temporary folder to write into. Every file in it is
/// synced to disk before the folder is renamed. An existing folder of that name is replaced; until the new one is in
/// place, the old one is kept as `name.old`. Temporary folders of dead processes are removed, so only one process at a
/// time may publish in `parent`.
///
/// # Errors
/// [`Error::Io`], or the error of `fill`; an existing `parent/name` is then intact and no temporary folder is left.
pub fn publish_folder(parent: &Path, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    fs::create_dir_all(parent).map_err(Error::io(parent, "create"))?;
    let temporary = Temporary(parent.join(format!("{TEMPORARY}{name}-{}", process::id())));
    for (path, entry) in entries(parent)? {
        if path.is_dir() && is_left_over(&entry, name) {
            fs::remove_dir_all(&path).map_err(Error::io(&path, "remove"))?;
        }
    }
    fs::create_dir(&temporary.0).map_err(Error::io(&temporary.0, "create"))?;
    fill(&temporary.0)?;
    sync_tree(&temporary.0)?;

    let last = parent.join(name);
    let old = parent.join(format!("{name}.old"));
    if last.exists() {
        remove_folder(&old)?;
        fs::rename(&last, &old).map_err(Error::io(&last, "rename"))?;
    }
    fs::rename(&temporary.0, &last).map_err(Error::io(&last, "create"))?;
    sync_folder(parent)?;
    remove_folder(&old)?;
    Ok(last)
}

/// Whether a folder's name is that of a temporary folder for `name`, or for a folder of the same name with another number.
fn is_left_over(entry: &str, name: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit();
    let process = |rest: &str| rest.strip_prefix('-').is_some_and(|id| !id.is_empty() && id.chars().all(digits));
    let rest = entry.strip_prefix(TEMPORARY).and_then(|rest| rest.strip_prefix(name.trim_end_matches(digits)));
    let rest = rest.map(|rest| rest.trim_start_matches(digits));
    rest.is_some_and(|rest| process(rest.strip_prefix(".old").unwrap_or(rest)))
}

/// Removes a folder. It disappears at once, even if the process dies while its files are being removed. Does nothing if
/// the folder does not exist.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_folder(path: &Path) -> Result<()> {
    let Some(name) = path.file_name().filter(|_| path.exists()) else { return Ok(()) };
    let doomed = parent(path).join(format!("{TEMPORARY}{}-{}", name.to_string_lossy(), process::id()));
    fs::rename(path, &doomed).map_err(Error::io(path, "remove"))?;
    fs::remove_dir_all(&doomed).map_err(Error::io(path, "remove"))
}

/// A temporary file or folder, removed on drop unless it has been renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let removed = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
        removed.ok();
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let read = || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect() };
    let paths = read().map_err(Error::io(folder, "list"))?;
    let named = |p: PathBuf| (p.clone(), p.file_name().unwrap_or(OsStr::new("")).to_string_lossy().into_owned());
    Ok(paths.into_iter().map(named).collect())
}

/// Failing to clean up is not an error: what cannot be listed or removed stays.
fn remove_stale(folder: &Path, prefix: &str) {
    for (path, name) in entries(folder).unwrap_or_default() {
        let age = || fs::metadata(&path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if name.starts_with(prefix) && age().is_some_and(|a| a > STALE) {
            fs::remove_file(&path).ok();
        }
    }
}

fn sync_tree(folder: &Path) -> Result<()> {
    for (path, _) in entries(folder)? {
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            let file = OpenOptions::new().write(true).open(&path).map_err(Error::io(&path, "open"))?;
            file.sync_all().map_err(Error::io(&path, "write to disk"))?;
        }
    }
    sync_folder(folder)
}

/// Only Unix can sync folders to disk; elsewhere the file system orders renames by itself.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        let opened = File::open(folder).map_err(Error::io(folder, "open"))?;
        opened.sync_all().map_err(Error::io(folder, "write to disk"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = entries(folder).unwrap().into_iter().map(|e| e.1).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/a.txt");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(b"half").map_err(Error::io(&path, "write"))?;
            Err(Error::Usage("no".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(path.parent().unwrap()), ["a.txt"]);
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        // /dev/full refuses every write with ENOSPC; BufWriter reports it at the latest when it is flushed.
        if cfg!(target_os = "linux") {
            let mut file = BufWriter::new(OpenOptions::new().write(true).open("/dev/full").unwrap());
            file.write_all(b"x").unwrap();
            assert_eq!(file.into_inner().unwrap_err().error().kind(), std::io::ErrorKind::StorageFull);
        }
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a"), b"").unwrap();
        assert!(matches!(write(&dir.path().join("a/b"), b"x"), Err(Error::Io { .. })), "a file is no folder");
    }

    #[test]
    fn folders_are_published_whole_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".tmp-ten-1", ".tmp-ten.old-12", ".tmp-ten", ".tmp-ten-x", ".tmp-tennis-1", ".tmp-"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let put = |text: &'static str| move |tmp: &Path| write(&tmp.join("f"), text.as_bytes());
        publish_folder(dir.path(), "ten", put("one")).unwrap();
        assert!(publish_folder(dir.path(), "ten", |_| Err(Error::Usage("no".into()))).is_err());
        assert_eq!(fs::read(dir.path().join("ten/f")).unwrap(), b"one");
        let at = publish_folder(dir.path(), "ten", put("two")).unwrap();
        assert_eq!(fs::read(at.join("f")).unwrap(), b"two");
        let others = [".tmp-", ".tmp-ten", ".tmp-ten-x", ".tmp-tennis-1"];
        assert_eq!(names(dir.path()), [&others[..], &["ten"]].concat(), "what is not ours stays");
        remove_folder(&at).unwrap();
        remove_folder(&at).unwrap();
        assert_eq!(names(dir.path()), others);
    }
}
