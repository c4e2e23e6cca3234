//! Keeps two processes from training in the same folder.

use std::{
    fs::{self, File, TryLockError},
    io::Write,
    path::Path,
    process,
    time::{Duration, Instant},
};

use crate::{Error, Result};

/// The file that is locked. It stays in the folder and says who took it last; only the lock on it matters.
const NAME: &str = ".lock";

/// How long to wait for a process that is about to end, such as the other ranks of a job in which one has died.
const PATIENCE: Duration = Duration::from_secs(5);

/// A folder that nobody else can take while this exists. The system releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    /// The lock lasts as long as the file is open.
    _file: Option<File>,
}

impl Lock {
    /// Takes `folder`. On file systems without locks, and where there are no files, nothing is locked.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if another process has it.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let Ok(mut file) = File::options().create(true).append(true).open(&path) else {
            return Ok(Self { _file: None });
        };
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => {
                    // Who has it is told to others; whoever cannot be told finds it locked all the same.
                    let _ = file.set_len(0).and_then(|()| writeln!(file, "process {}{}", process::id(), host()));
                    return Ok(Self { _file: Some(file) });
                }
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 50),
                Err(TryLockError::WouldBlock) => {
                    let holder = fs::read_to_string(&path).unwrap_or_default();
                    let holder = match holder.trim() {
                        "" => String::new(),
                        holder => format!(" ({holder})"),
                    };
                    let reason =
                        format!("another process is training in it{holder}; wait for it, or choose another folder");
                    return Err(Error::checkpoint(folder, reason));
                }
                Err(TryLockError::Error(_)) => return Ok(Self { _file: None }),
            }
        }
    }
}

/// " on HOST", where the system says its name in a file.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { String::new() } else { format!(" on {}", name.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        let said = Lock::take(folder.path()).unwrap_err().to_string();
        let holder = format!("another process is training in it (process {}", process::id());
        assert!(said.contains(&holder), "{said}");
        // Somebody who comes a moment too early waits.
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(PATIENCE / 10);
                drop(lock);
            });
            Lock::take(folder.path()).unwrap();
        });
        // Where nothing can be locked, nothing is refused.
        Lock::take(&folder.path().join("absent")).unwrap();
    }
}
