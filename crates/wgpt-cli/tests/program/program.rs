//! Runs `wgpt` in its own folder and with its own cache, which starts as a copy of what earlier tests tuned.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A model so small that a step takes a few milliseconds anywhere.
pub const TINY: &[&str] = &[
    "--layers",
    "1",
    "--heads",
    "2",
    "--width",
    "16",
    "--context",
    "16",
    "--batch",
    "2",
    "--val-batches",
    "2",
    "--sample-tokens",
    "0",
    "--quiet",
    "--json",
];

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_wgpt");

/// A folder that contains a text, and the cache of the programs that run in it. Tests run side by side and tune at the same
/// time: with one cache for all, two runs of a test could find different choices in it, which may round differently.
pub struct Place {
    folder: TempDir,
    cache: TempDir,
}

/// What tests have tuned so far.
fn tuned() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("tuning")
}

/// Copies the files of `from` that `to` does not have, each of them whole.
fn copy_missing(from: &Path, to: &Path) {
    let files = std::fs::read_dir(from).into_iter().flatten().flatten();
    for file in files.map(|entry| entry.path()).filter(|path| path.is_file()) {
        let Some(name) = file.file_name() else { continue };
        let target = to.join(name);
        if !target.exists()
            && let Ok(part) = tempfile::NamedTempFile::new_in(to)
            && std::fs::copy(&file, part.path()).is_ok()
        {
            // If another test was faster, its file stays.
            let _ = part.persist_noclobber(target);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let tuned = tuned();
        if std::fs::create_dir_all(&tuned).is_ok() {
            copy_missing(self.cache.path(), &tuned);
        }
    }
}

impl Place {
    /// A folder that holds `text.txt`.
    pub fn with_text(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("text.txt"), text).expect("the text is written");
        let cache = tempfile::tempdir().expect("a temporary folder");
        copy_missing(&tuned(), cache.path());
        Self { folder, cache }
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_of(Command::new(PROGRAM));
        command.args(arguments);
        command
    }

    /// A process in this folder.
    fn command_of(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).env("WGPT_CACHE", self.cache.path());
        command.env("WGPT_CHECKED", if checked() { "1" } else { "0" });
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("wgpt starts")
    }

    /// Runs a command to its end with `variables` in its environment.
    pub fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        self.command(arguments).envs(variables.iter().copied()).output().expect("wgpt starts")
    }

    /// Runs a command to its end with its own cache folder, `cache`.
    pub fn run_apart(&self, arguments: &[&str]) -> Output {
        self.command(arguments).env("WGPT_CACHE", self.path("cache")).output().expect("wgpt starts")
    }

    /// Runs a command to its end, which must be successful, and parses the JSON on the last line.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "wgpt {arguments:?}: {stderr}");
        serde_json::from_str(stdout.lines().last().unwrap_or_default()).expect("the last line is JSON")
    }

    /// Runs a command to its end, which must be a clean failure, and returns its messages.
    pub fn failure(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "wgpt {arguments:?} should fail");
        assert!(!stderr.contains("panicked"), "wgpt {arguments:?} panicked: {stderr}");
        stderr
    }

    /// Starts a command with a pipe to its standard input.
    pub fn talk(&self, arguments: &[&str]) -> Child {
        self.command(arguments).env("NO_COLOR", "1").stdin(Stdio::piped()).spawn().expect("wgpt starts")
    }

    /// Starts a command and returns at once.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wgpt starts")
    }

    /// [`Place::start`], through a launcher that becomes the program.
    pub fn start_under(&self, launcher: &str, arguments: &[&str]) -> Child {
        let mut command = self.command_of(Command::new(launcher));
        command.arg(PROGRAM).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wgpt starts")
    }

    /// The training losses in `out/metrics.jsonl` by step, as written; empty if nothing has been logged yet.
    pub fn losses(&self, out: &str) -> Vec<(u64, String)> {
        let text = std::fs::read_to_string(self.path(out).join("metrics.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let loss = |line: Value| Some((line["step"].as_u64()?, line.get("train_loss")?.to_string()));
        lines.filter_map(loss).collect()
    }

    /// How many steps of the run `out` have been logged.
    pub fn steps(&self, out: &str) -> u64 {
        self.losses(out).last().map_or(0, |(step, _)| step + 1)
    }

    /// Waits until the run `out` has logged this many steps. The log grows, whereas checkpoints are replaced by newer
    /// ones.
    pub fn wait_for_steps(&self, out: &str, count: u64) {
        wait_until(|| self.steps(out) >= count, &format!("{out} has logged {count} steps"));
    }
}

/// Asks repeatedly, for at most a minute.
pub fn wait_until(mut holds: impl FnMut() -> bool, what: &str) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "a minute has passed, and not yet: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills a process, which must still be running: one that had already ended would leave nothing to test.
pub fn kill(mut child: Child) {
    child.kill().expect("the process can be killed");
    let status = child.wait().expect("the process ends");
    #[cfg(unix)]
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it had ended before: {status}");
    #[cfg(not(unix))]
    assert!(!status.success(), "it had ended before: {status}");
}

/// Whether kernels keep their run-time checks: yes, unless `WGPT_CHECKED=0` asks for kernels as users run them.
pub fn checked() -> bool {
    std::env::var("WGPT_CHECKED").as_deref() != Ok("0")
}

/// Sends a signal to a process by name, as in `kill -INT`.
pub fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{signal} is not sent");
}

/// `pretrain` on the folder's text with the tiny model.
pub fn pretrain<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["pretrain", "--data", "text.txt", "--out", out].iter().chain(TINY).chain(more).copied().collect()
}

/// A few kilobytes of English with some variety.
pub fn english() -> String {
    (0..400).map(|i| format!("Line {i} of the tale: the {} wind blew {} times.\n", i * i % 97, i % 13)).collect()
}
