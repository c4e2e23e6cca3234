//! The program's output: results on stdout, messages and progress bars on stderr; and how a terminal shows numbers and
//! texts.
//!
//! The reader may go away at any time (`| head`, a closed terminal). Results then end the command without an error
//! message; messages that cannot be written are dropped, so that training outlives its terminal.

use std::{
    fmt::Display,
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use wgpt::{Error, Result, gpu::profile::Entry, infer::generate::Generated};

/// Writes part of a result to stdout at once.
///
/// # Errors
///
/// [`Error::Unread`] if the reader is gone, [`Error::Io`] for a full disk and other errors.
pub(super) fn write(text: impl Display) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = write!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Error::Unread,
        _ => Error::io(Path::new("stdout"), "write")(error),
    })
}

/// Like [`write()`], with a line end.
pub(super) fn line(text: impl Display) -> Result<()> {
    write(format_args!("{text}\n"))
}

/// Writes a line to stderr.
pub(super) fn say(text: impl Display) {
    talk(format_args!("{text}\n"));
}

/// Like [`say`], without a line end.
pub(super) fn talk(text: impl Display) {
    *SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Instant::now());
    // There is no way to report that stderr is closed.
    let _ = write!(std::io::stderr().lock(), "{text}");
}

/// When something was last said on stderr.
static SAID: Mutex<Option<Instant>> = Mutex::new(None);

/// After this long without a word, somebody who reads the log instead of a terminal learns that work goes on: at least every
/// five seconds, however busy the machine is.
const OFTEN: Duration = Duration::from_secs(4);

/// The time left: what it was when the bar last moved, counting down since.
struct Countdown {
    moved: Instant,
    left: Duration,
    done: u64,
}

impl Countdown {
    fn new() -> Self {
        Self { moved: Instant::now(), left: Duration::ZERO, done: 0 }
    }

    /// The time left with `done` steps done, if `estimate` is right.
    fn left(&mut self, done: u64, estimate: Duration) -> Duration {
        if done != self.done {
            *self = Self { moved: Instant::now(), left: estimate, done };
        }
        self.left.saturating_sub(self.moved.elapsed())
    }
}

/// Says where a hidden bar is whenever nothing was said for a while, as long as the bar exists.
fn say_often(bar: &ProgressBar, estimate: fn(&ProgressBar) -> Duration) {
    let bar = bar.downgrade();
    std::thread::spawn(move || {
        let mut countdown = Countdown::new();
        loop {
            std::thread::sleep(OFTEN / 8);
            let Some(bar) = bar.upgrade().filter(|bar| !bar.is_finished()) else { break };
            let left = countdown.left(bar.position(), estimate(&bar)).as_secs();
            let silent =
                SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_none_or(|at| at.elapsed() >= OFTEN);
            if silent && bar.elapsed() >= OFTEN {
                let (done, all, message) = (bar.position(), bar.length().unwrap_or_default(), bar.message());
                let left = if left == 0 { String::new() } else { format!(" (left {left} s)") };
                say(format_args!("{message} {done}/{all}{left}").to_string().trim_start());
            }
        }
    });
}

/// A bar of `length` steps with the time left; hidden when `quiet` or when stderr is not a terminal. In the latter case,
/// lines replace it.
pub(super) fn bar(length: u64, quiet: bool) -> ProgressBar {
    let style = style("{bar:32.cyan/blue} {pos}/{len} {msg} {elapsed} (left {eta})");
    bar_with(length, quiet, style, ProgressBar::eta)
}

/// The same for steps of a percent, several of which come at once and rarely: there the time left follows from the average
/// so far.
pub(super) fn coarse_bar(quiet: bool) -> ProgressBar {
    let countdown = Arc::new(Mutex::new(Countdown::new()));
    let left = move |state: &ProgressState, to: &mut dyn std::fmt::Write| {
        let mut countdown = countdown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let left = countdown.left(state.pos(), average_left(state.elapsed(), state.pos(), state.len())).as_secs();
        // There is no way to report that the terminal is gone.
        let _ = if left == 0 { write!(to, "?") } else { write!(to, "{left} s") };
    };
    let style = style("{bar:32.cyan/blue} {pos} % {msg} {elapsed} (left {left})").with_key("left", left);
    bar_with(100, quiet, style, |bar| average_left(bar.elapsed(), bar.position(), bar.length()))
}

fn average_left(elapsed: Duration, done: u64, all: Option<u64>) -> Duration {
    elapsed.mul_f64(all.unwrap_or_default().saturating_sub(done) as f64 / done.max(1) as f64)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn bar_with(length: u64, quiet: bool, style: ProgressStyle, estimate: fn(&ProgressBar) -> Duration) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
    let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
    if bar.is_hidden() && !quiet {
        say_often(&bar, estimate);
    }
    bar
}

/// A horizontal bar for a share between 0 and 1, `width` cells wide, by eighths of a cell.
pub(super) fn share(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8))
}

/// Makes a text safe to print: control characters, which could move the cursor or worse, are replaced; line ends and
/// tabs stay.
pub(super) fn harmless(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() && !"\n\t".contains(letter) { '\u{fffd}' } else { letter };
    text.replace("\r\n", "\n").chars().map(shown).collect()
}

/// The beginning of a text on one line of at most `width` characters.
pub(super) fn beginning(text: &str, width: usize) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let line = harmless(&words.join(" "));
    match line.char_indices().nth(width) {
        Some(_) => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        None => line,
    }
}

/// How fast a text was generated, in words; nothing for a text without tokens between which time passed.
pub(super) fn rate(generated: &Generated) -> String {
    match generated.tokens.len() {
        0 | 1 => String::new(),
        _ => format!(" at {:.1} tokens/s", generated.rate()),
    }
}

/// A number of bytes in words.
pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The table that `--profile` prints: kernels by time, with their shares.
pub(super) fn profile(rows: &[(String, Entry)]) -> String {
    let total: f64 = rows.iter().map(|(_, entry)| entry.seconds).sum();
    let mut text = format!("{:>10} {:>6} {:>10} {:>10}  kernel\n", "ms", "share", "dispatches", "us each");
    for (label, entry) in rows {
        let each = entry.seconds / entry.dispatches.max(1) as f64;
        text += &format!(
            "{:>10.2} {:>5.1}% {:>10} {:>10.1}  {label}\n",
            entry.seconds * 1e3,
            100.0 * entry.seconds / total.max(1e-12),
            entry.dispatches,
            each * 1e6
        );
    }
    text + &format!("{:>10.2} total\n", total * 1e3)
}

#[cfg(test)]
mod tests {
    use super::{beginning, harmless};

    #[test]
    fn texts_from_somewhere_do_no_harm() {
        assert_eq!(harmless("a\tb\r\n\x1b[2J\u{9b}c 床"), "a\tb\n\u{fffd}[2J\u{fffd}c 床");
        assert_eq!(beginning(" one\n two three", 8), "one two…");
        assert_eq!(beginning("床前明月", 4), "床前明月");
    }
}
