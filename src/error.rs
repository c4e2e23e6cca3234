//! The one error type of the crate.
//!
//! A message says what was wrong, where (operation, shapes, file, byte, line) and what to do about it.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in wgpt, divided by who can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No adapter that can run the engine was found.
    #[error("no GPU adapter found: {0}")]
    NoAdapter(String),
    /// `--adapter` or `WGPT_ADAPTER` names nothing on this machine.
    #[error("no adapter matches '{wanted}'; this machine has: {available}")]
    UnknownAdapter {
        /// What the user asked for.
        wanted: String,
        /// A list of the adapters that exist.
        available: String,
    },
    /// The adapter refused to open a device.
    #[error("adapter '{adapter}' gave no device: {reason}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's message.
        reason: String,
    },
    /// The device disappeared (driver reset, unplugged, watchdog).
    #[error("the GPU device was lost ({}; last kernel: {kernel}){}", reason.trim(), way_on(saved.as_deref()))]
    DeviceLost {
        /// The driver's message.
        reason: String,
        /// The last kernel that was recorded.
        kernel: String,
        /// The checkpoint from which the run can be resumed.
        saved: Option<PathBuf>,
    },
    /// Another rank of an MPI job is gone.
    #[error("{} (on {hosts}) {reason}{}", ranks_of(ranks), way_on(saved.as_deref()))]
    Rank {
        /// The ranks concerned.
        ranks: Vec<usize>,
        /// Where they ran.
        hosts: String,
        /// What happened to them.
        reason: String,
        /// The checkpoint from which the run can be resumed.
        saved: Option<PathBuf>,
    },
    /// The adapter has no memory left.
    #[error("out of GPU memory: {0}; use a smaller --batch or --context, or --checkpoint-activations")]
    OutOfMemory(String),
    /// A kernel's source, or a call to it, is wrong. Always a bug in wgpt or its shader.
    #[error("kernel {kernel}: {reason}")]
    Kernel {
        /// File name of the kernel.
        kernel: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Operands do not fit an operation.
    #[error("{op}: {reason}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// Which shapes, and what was expected.
        reason: String,
    },
    /// A configuration that cannot be trained or loaded.
    #[error("configuration: {0}")]
    Config(String),
    /// Text or token data that cannot be used.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A tokenizer refused its input or its file.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A chat template that cannot be read, or that refuses a conversation.
    #[error("chat template: {0}")]
    Template(String),
    /// A checkpoint folder or file that cannot be used.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as in "cannot {action}".
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A command-line value that is not valid.
    #[error("{0}")]
    Usage(String),
    /// Training diverged.
    #[error(
        "training stopped at step {step}: the loss is {loss}; lower --lr or raise --warmup (the last checkpoint is kept)"
    )]
    Diverged {
        /// The step whose loss is not finite.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// A guard stopped a run that went wrong.
    #[error("training stopped after step {step}: {reason} (the last good checkpoint is kept)")]
    Guarded {
        /// Steps done.
        step: u64,
        /// What went wrong, and what to do.
        reason: String,
    },
    /// The reader of stdout has closed it, as `head` does, so there is nobody left to write for.
    #[error("nobody reads the output any more")]
    Unread,
    /// `doctor` found a kernel that disagrees with its oracle.
    #[error("{0}")]
    Failed(String),
}

/// "rank 1", or "ranks 2, 3".
fn ranks_of(ranks: &[usize]) -> String {
    let all: Vec<_> = ranks.iter().map(usize::to_string).collect();
    format!("rank{} {}", if all.len() == 1 { "" } else { "s" }, all.join(", "))
}

/// How to continue after losing a device or rank.
fn way_on(saved: Option<&Path>) -> String {
    match saved {
        Some(saved) => format!("; {} is whole: the same command with --resume goes on from there", saved.display()),
        None => "; nothing was damaged, run the command again".to_string(),
    }
}

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Io`] for use in `map_err`: `.map_err(Error::io(path, "read"))`.
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Io { path, action, source }
    }

    /// An [`Error::Shape`].
    pub fn shape(op: &'static str, reason: impl Into<String>) -> Self {
        Self::Shape { op, reason: reason.into() }
    }

    /// An [`Error::Data`].
    pub fn data(path: &Path, reason: impl Into<String>) -> Self {
        Self::Data { path: path.to_path_buf(), reason: reason.into() }
    }

    /// An [`Error::Checkpoint`].
    pub fn checkpoint(path: &Path, reason: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_path_buf(), reason: reason.into() }
    }
}
