//! What the program says: results on stdout, talk on stderr.
//!
//! Whoever listens may leave at any time (`| head`, a closed terminal). Results then end the command without complaint;
//! talk that nobody hears stops no work, so a training outlives its terminal.

use std::{fmt::Display, io::Write, path::Path};

use wgpt::{Error, Result};

/// Writes part of a result to stdout at once.
///
/// # Errors
///
/// [`Error::Unread`] if the reader has left, [`Error::Io`] for a full disk and the like.
pub(super) fn write(text: impl Display) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = write!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Error::Unread,
        _ => Error::io(Path::new("stdout"), "write")(error),
    })
}

/// [`write()`] with a line end.
pub(super) fn line(text: impl Display) -> Result<()> {
    write(format_args!("{text}\n"))
}

/// Writes a line to stderr.
pub(super) fn say(text: impl Display) {
    talk(format_args!("{text}\n"));
}

/// [`say`] without a line end.
pub(super) fn talk(text: impl Display) {
    // Nobody can be told that nobody listens.
    let _ = write!(std::io::stderr().lock(), "{text}");
}
