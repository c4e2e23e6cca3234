//! The one error type of the crate.
//!
//! A message says what was wrong and where (operation, shapes, setting, file, byte, line), for whoever called: a program, a
//! page or a terminal. What a user of a terminal can do about it, by which option, is for the command line to add.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in wgpt, by who can mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No adapter that can run the engine was found.
    #[error("no GPU adapter found: {0}")]
    NoAdapter(String),
    /// The wanted adapter is none of this machine's.
    #[error("no adapter matches '{wanted}'; this machine has: {available}")]
    UnknownAdapter {
        /// What the user asked for.
        wanted: String,
        /// The adapters that exist, one after the other.
        available: String,
    },
    /// The adapter refused to open a device.
    #[error("adapter '{adapter}' gave no device: {reason}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The device disappeared (driver reset, unplugged, watchdog).
    #[error("the GPU device was lost ({}; last kernel: {kernel}){}", reason.trim(), kept(saved.as_deref()))]
    DeviceLost {
        /// The driver's words.
        reason: String,
        /// The last kernel that was recorded.
        kernel: String,
        /// The checkpoint that a run goes on from.
        saved: Option<PathBuf>,
    },
    /// Another rank of an MPI job is gone.
    #[error("{} (on {hosts}) {reason}{}", ranks_of(ranks), kept(saved.as_deref()))]
    Rank {
        /// The ranks that it is about.
        ranks: Vec<usize>,
        /// Where they ran.
        hosts: String,
        /// What happened to them.
        reason: String,
        /// The checkpoint that a run goes on from.
        saved: Option<PathBuf>,
    },
    /// What one of many ranks ended with.
    #[error("rank {rank}: {source}")]
    OnRank {
        /// The rank.
        rank: usize,
        /// Its error.
        source: Box<Error>,
    },
    /// Ranks did not send one another what was due.
    #[error("exchange between ranks: {0}")]
    Exchange(String),
    /// Several ranks were started, and the library was built without the feature `mpi`.
    #[error("{ranks} ranks were started, but this wgpt was built without MPI")]
    WithoutMpi {
        /// How many were started.
        ranks: usize,
    },
    /// The adapter has no memory left.
    #[error("out of GPU memory: {0}")]
    OutOfMemory(String),
    /// A tensor is over the adapter's largest buffer.
    #[error("a tensor {shape:?} takes {bytes} bytes, the adapter allows {most} in one buffer")]
    TooLarge {
        /// Its shape.
        shape: Vec<usize>,
        /// Its bytes.
        bytes: u64,
        /// Those of the largest buffer.
        most: u64,
    },
    /// Times are asked of an adapter that takes none.
    #[error("{adapter} has no timestamp queries")]
    NoTimestamps {
        /// The adapter.
        adapter: String,
    },
    /// Waiting for the GPU where nothing may wait, as in a browser.
    #[error("the GPU cannot be waited for here")]
    WouldBlock,
    /// A kernel's source, or a call of it, is wrong. Always a bug in wgpt or its shader.
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
    /// A setting with a value that makes no sense.
    #[error("{name} {value}: {reason}")]
    Setting {
        /// The setting, as the field that holds it is called.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        reason: String,
    },
    /// A run is to go on with other settings than it was started with.
    #[error("the run was started with {name} = {then}, now it is {now}")]
    OtherSettings {
        /// The first setting that differs, by its path in the settings.
        name: String,
        /// Its value when the run was started, as JSON.
        then: String,
        /// Its value now.
        now: String,
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
    /// A text that has not one window of a context.
    #[error("{}: {tokens} tokens, and a window of context {context} takes {}", path.display(), context.saturating_add(1))]
    TooFewTokens {
        /// The text's file.
        path: PathBuf,
        /// Its tokens.
        tokens: usize,
        /// Tokens of a window, without the last target.
        context: usize,
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
    /// The operating system refused something that is not about a file.
    #[error("cannot {action}: {source}")]
    System {
        /// What was being done, as in "cannot {action}".
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A value that JSON cannot hold, or JSON that is not what was written.
    #[error("{what} as JSON: {source}")]
    Json {
        /// What was to be written or read.
        what: &'static str,
        /// Why it was not.
        source: serde_json::Error,
    },
    /// A request that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The engine's queue holds as many requests as it may.
    #[error("the engine's queue is full")]
    QueueFull,
    /// The thread that runs the engine ended while it was needed.
    #[error("the engine's thread broke off")]
    EngineEnded,
    /// A model's scores are not numbers: its weights are broken.
    #[error("the model's scores are not numbers: its weights are broken")]
    BrokenWeights,
    /// A judge failed, or gave no scores to learn from.
    #[error("the judge `{judge}` {reason}")]
    Judge {
        /// The judge, as it was asked for.
        judge: String,
        /// What it did, as in "the judge {reason}".
        reason: String,
    },
    /// A judge scores everything the same.
    #[error("the judge gives all of {answers} answers the score {score}: there is nothing to learn")]
    EqualScores {
        /// The answers.
        answers: usize,
        /// The score of each.
        score: f64,
    },
    /// Training diverged.
    #[error("training stopped at step {step}: the loss is {loss} (the last checkpoint is kept)")]
    Diverged {
        /// The step whose loss is not finite.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// A guard stopped a run that went wrong.
    #[error("training stopped after step {step}: {cause} (the last good checkpoint is kept)")]
    Guarded {
        /// Steps done.
        step: u64,
        /// What went wrong.
        cause: GuardCause,
    },
    /// A demo was stopped before its end.
    #[error("stopped in stage {stage}")]
    Stopped {
        /// The stage that is not done.
        stage: String,
        /// The demo's folder.
        out: PathBuf,
    },
    /// Whoever read stdout has left, as `head` does: what is still to be said is not missed.
    #[error("nobody reads the output any more")]
    Unread,
    /// A curve that the drawing library cannot draw.
    #[error("{what} cannot be drawn: {reason}")]
    Drawing {
        /// The curve.
        what: String,
        /// The library's words.
        reason: String,
    },
    /// Kernels disagree with their oracles.
    #[error("{wrong} of {checked} kernel variants disagree with their oracle")]
    WrongKernels {
        /// The variants that do.
        wrong: usize,
        /// All that were checked.
        checked: usize,
    },
    /// An adapter disagrees with what is known of kernels, trainings or answers.
    #[error("this adapter does not compute what it should")]
    WrongAdapter,
    /// No variant for a class of shapes agrees with the plainest one.
    #[error("{class}: no variant passes its check")]
    NoVariant {
        /// The class of shapes.
        class: String,
    },
    /// The tuner chose variants that are slower than others.
    #[error("{over} of {choices} choices are over {most} times the best")]
    SlowChoices {
        /// The choices that are too slow.
        over: usize,
        /// All that were checked.
        choices: usize,
        /// The most time that a choice may take, as a multiple of the best variant's.
        most: f64,
    },
    /// Shaders that could not be translated.
    #[error("shader translation: {0}")]
    Translation(String),
}

/// What a guard of reinforcement learning saw.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GuardCause {
    /// A number of a step is not finite.
    #[error("{what} is {value}")]
    NotFinite {
        /// The number.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// Sampling and training see other probabilities.
    #[error(
        "log-probabilities differ by {nats:.2} nats between sampling and training: a kernel is wrong on this adapter"
    )]
    SamplingGap {
        /// The difference.
        nats: f64,
    },
    /// The policy is far from its reference.
    #[error("the KL is {nats:.2} nats, over the limit of {most:.2}")]
    Kl {
        /// The mean KL of an episode.
        nats: f64,
        /// Its limit.
        most: f64,
    },
    /// Answers repeat themselves.
    #[error("{:.0} % of the answers repeat themselves (limit {:.0} %): the policy fools its judge", 100.0 * share, 100.0 * most)]
    Repetition {
        /// The share of repeated word sequences.
        share: f64,
        /// Its limit.
        most: f64,
    },
    /// Answers have become short.
    #[error(
        "answers have {tokens:.1} tokens, at first they had {first:.1}: the policy fools its judge by saying nothing"
    )]
    Shortness {
        /// Mean tokens of an answer.
        tokens: f64,
        /// The same of the first batch.
        first: f64,
    },
}

/// "rank 1", or "ranks 2, 3".
fn ranks_of(ranks: &[usize]) -> String {
    let all: Vec<_> = ranks.iter().map(usize::to_string).collect();
    format!("rank{} {}", if all.len() == 1 { "" } else { "s" }, all.join(", "))
}

/// What is left after a lost device or rank.
fn kept(saved: Option<&Path>) -> String {
    match saved {
        Some(saved) => format!("; {} is whole", saved.display()),
        None => "; nothing was damaged".to_string(),
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

    /// An [`Error::System`] for use in `map_err`: `.map_err(Error::system("hear signals"))`.
    pub fn system(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { action, source }
    }

    /// An [`Error::Json`] for use in `map_err`: `.map_err(Error::json("the run's state"))`.
    pub fn json(what: &'static str) -> impl Fn(serde_json::Error) -> Self {
        move |source| Self::Json { what, source }
    }

    /// An [`Error::Drawing`].
    pub fn drawing(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Drawing { what: what.into(), reason: reason.to_string() }
    }

    /// An [`Error::Setting`].
    pub fn setting(name: &'static str, value: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Setting { name, value: value.to_string(), reason: reason.into() }
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
