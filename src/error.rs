//! The one error type of the crate.
//!
//! A message says what was wrong and where (operation, shapes, setting, file, byte, line). It may be shown in a
//! terminal, on a web page or by another program, so it does not name command-line options; the command line adds those
//! that help.

use std::path::{Path, PathBuf};

/// Everything that can go wrong in wgpt, divided by who can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No adapter that can run the engine was found.
    #[error("no GPU adapter found: {0}")]
    NoAdapter(String),
    /// No adapter of this machine matches the one that was asked for.
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
    #[error("the GPU device was lost ({}; last kernel: {kernel}){}", reason.trim(), kept(saved.as_deref()))]
    DeviceLost {
        /// The driver's message.
        reason: String,
        /// The last kernel that was recorded.
        kernel: String,
        /// The checkpoint from which the run can be resumed.
        saved: Option<PathBuf>,
    },
    /// Another rank of an MPI job is gone.
    #[error("{} (on {hosts}) {reason}{}", ranks_of(ranks), kept(saved.as_deref()))]
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
    /// An error on one of several ranks.
    #[error("rank {rank}: {source}")]
    OnRank {
        /// The rank.
        rank: usize,
        /// Its error.
        source: Box<Error>,
    },
    /// Communication between ranks failed, or a rank sent something unexpected.
    #[error("exchange between ranks: {0}")]
    Exchange(String),
    /// Several ranks were started, and the library was built without the feature `mpi`.
    #[error("{ranks} ranks were started, but this wgpt was built without MPI")]
    WithoutMpi {
        /// The number of ranks.
        ranks: usize,
    },
    /// The adapter has no memory left.
    #[error("out of GPU memory: {0}")]
    OutOfMemory(String),
    /// A tensor does not fit the adapter's largest buffer.
    #[error("a tensor {shape:?} takes {bytes} bytes, the adapter allows {most} in one buffer")]
    TooLarge {
        /// Its shape.
        shape: Vec<usize>,
        /// Its size in bytes.
        bytes: u64,
        /// The size of the largest buffer.
        most: u64,
    },
    /// Kernels are to be timed on an adapter without timestamp queries.
    #[error("{adapter} has no timestamp queries")]
    NoTimestamps {
        /// The adapter.
        adapter: String,
    },
    /// Code that must not block, as in a browser, would have to wait for the GPU.
    #[error("the GPU cannot be waited for here")]
    WouldBlock,
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
    /// A setting whose value is not valid.
    #[error("{name} {value}: {reason}")]
    Setting {
        /// The setting, by the name of its field.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it, or which values are valid.
        reason: String,
    },
    /// A run is to be resumed with other settings than it was started with.
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
    /// A database that other programs have been writing to for too long.
    #[error("{}: cannot {action}: other programs are writing to it; try again", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// What cannot be done, as in "cannot {action}".
        action: &'static str,
    },
    /// A text that is shorter than one window.
    #[error(
        "{}: {}, and a window of context {context} takes {}",
        path.display(),
        counted(tokens, "token"),
        context.saturating_add(1)
    )]
    TooFewTokens {
        /// The text's file.
        path: PathBuf,
        /// The number of its tokens.
        tokens: usize,
        /// Tokens per window; the last target is one more.
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
    /// A value that cannot be converted to or from JSON.
    #[error("{what} as JSON: {source}")]
    Json {
        /// The value.
        what: &'static str,
        /// The reason.
        source: serde_json::Error,
    },
    /// A request that is not valid.
    #[error("{0}")]
    Usage(String),
    /// The engine's queue holds as many requests as it may.
    #[error("the engine's queue is full")]
    QueueFull,
    /// The thread that runs the engine ended while it was needed.
    #[error("the engine's thread ended unexpectedly")]
    EngineEnded,
    /// What a model computes is not finite.
    #[error("the model's {what} are not numbers{}", because(origin.as_ref()))]
    NotNumbers {
        /// What it computes, such as its scores.
        what: &'static str,
        /// Where that began, once it was found out.
        origin: Option<Origin>,
    },
    /// A judge failed, or gave no scores to learn from.
    #[error("the judge `{judge}` {reason}")]
    Judge {
        /// The judge, as it was specified.
        judge: String,
        /// What it did, as in "the judge {reason}".
        reason: String,
    },
    /// A judge gives all answers the same score.
    #[error("the judge gives all of {answers} answers the score {score}: there is nothing to learn")]
    EqualScores {
        /// The number of answers.
        answers: usize,
        /// Their score.
        score: f64,
    },
    /// Training diverged.
    #[error(
        "training stopped at step {step}: the {what} is {value}{} (the last checkpoint is kept)",
        because(origin.as_ref())
    )]
    Diverged {
        /// The step.
        step: usize,
        /// The number that is not finite, as in "the {what} is {value}".
        what: &'static str,
        /// Its value.
        value: f32,
        /// Where that began, once it was found out.
        origin: Option<Origin>,
    },
    /// A guard stopped a run that went wrong.
    #[error("training stopped after step {step}: {cause} (the last good checkpoint is kept)")]
    Guarded {
        /// Steps done.
        step: u64,
        /// What went wrong.
        cause: GuardCause,
    },
    /// A command of several stages was stopped before its end.
    #[error("stopped in stage {stage}")]
    Stopped {
        /// The unfinished stage.
        stage: String,
    },
    /// The caller asked the work to stop.
    #[error("stopped")]
    Interrupted,
    /// The reader of stdout has closed it, as `head` does, so there is nobody left to write for.
    #[error("nobody reads the output any more")]
    Unread,
    /// A curve that the drawing library cannot draw.
    #[error("{what} cannot be drawn: {reason}")]
    Drawing {
        /// The curve.
        what: String,
        /// The library's message.
        reason: String,
    },
    /// Kernels disagree with their oracles.
    #[error("{wrong} of {checked} kernel variants disagree with their oracle")]
    WrongKernels {
        /// The number of wrong variants.
        wrong: usize,
        /// The number of variants checked.
        checked: usize,
    },
    /// An adapter failed some check of kernels, training or decoding.
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
        /// The number of choices that are too slow.
        over: usize,
        /// The number of choices checked.
        choices: usize,
        /// The longest time that a choice may take, as a multiple of the best variant's.
        most: f64,
    },
    /// Shaders that could not be translated.
    #[error("shader translation: {0}")]
    Translation(String),
}

/// Where numbers that are not finite begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Origin {
    /// In a weight.
    #[error("{name} holds numbers that are not finite{}", if *given { ", as it did when the model was loaded" } else { "" })]
    Weight {
        /// The weight.
        name: String,
        /// Whether nothing has changed it since the model was loaded.
        given: bool,
    },
    /// In the result of a computation with weights that are all finite.
    #[error(
        "all weights are finite; in the {part}, kernel {kernel} is the first to write a number that is not{}",
        after.as_ref().map_or(String::new(), |after| format!(", at or after {after}"))
    )]
    Computed {
        /// The kernel.
        kernel: String,
        /// The last weight that was used before.
        after: Option<String>,
        /// The part of the computation.
        part: String,
    },
    /// Nowhere: computed once more from the same text, in f32 and without a cache, everything was finite.
    #[error("all weights are finite, and so was everything when it was computed once more in a plainer way")]
    Vanished,
}

/// ": " and the origin, if it was found out.
fn because(origin: Option<&Origin>) -> String {
    origin.map_or(String::new(), |origin| format!(": {origin}"))
}

/// Why a guard stops a run of reinforcement learning.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GuardCause {
    /// A number of a step is not finite.
    #[error("{what} is {value}{}", because(origin.as_ref()))]
    NotFinite {
        /// The number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Where that began, once it was found out.
        origin: Option<Origin>,
    },
    /// Sampling and training disagree about probabilities.
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
    #[error(
        "{:.0} % of the answers repeat themselves (limit {:.0} %): the policy fools its judge",
        100.0 * share,
        100.0 * most
    )]
    Repetition {
        /// The share of repeated word sequences.
        share: f64,
        /// Its limit.
        most: f64,
    },
    /// The judge likes the answers better and better, and they become worse.
    #[error(
        "the gold score has fallen from {best:.3} to {gold:.3} while the score rose from {before:.3} to {score:.3} (means \
         of several steps): the policy fools its judge"
    )]
    OverOptimised {
        /// The best mean gold score.
        best: f64,
        /// The mean gold score now.
        gold: f64,
        /// The mean score of the steps with the best gold score.
        before: f64,
        /// The mean score now.
        score: f64,
    },
    /// Answers have become short.
    #[error(
        "answers have {tokens:.1} tokens, at first they had {first:.1}: the policy fools its judge by saying nothing"
    )]
    Shortness {
        /// Mean tokens of an answer.
        tokens: f64,
        /// The same for the first batch.
        first: f64,
    },
}

/// "rank 1", or "ranks 2, 3".
fn ranks_of(ranks: &[usize]) -> String {
    let all: Vec<_> = ranks.iter().map(usize::to_string).collect();
    format!("rank{} {}", if all.len() == 1 { "" } else { "s" }, all.join(", "))
}

/// What a lost device or rank left behind.
fn kept(saved: Option<&Path>) -> String {
    match saved {
        Some(saved) => format!("; {} is whole", saved.display()),
        None => "; nothing was damaged".to_string(),
    }
}

/// A number with what it counts, in the plural unless it is 1.
pub fn counted(number: impl std::fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{plural}")
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
