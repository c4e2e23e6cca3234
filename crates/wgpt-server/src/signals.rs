//! What asks the program to end from outside: Ctrl-C, SIGTERM, a terminal that is closed.

use wgpt::{Error, Result};

/// Exit status of a program that a signal ended at once: 128 and SIGINT's number, as shells say it.
pub const INTERRUPTED: i32 = 130;

/// SIGINT and SIGTERM, and SIGHUP where a terminal can end; where there are none of these, Ctrl-C.
pub struct Signals {
    #[cfg(unix)]
    kinds: Vec<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Hears signals from now on, inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::System`] where the system refuses.
    #[cfg(unix)]
    pub fn new() -> Result<Self> {
        use std::io::IsTerminal;

        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        // Without a terminal there is nobody to hang up, and what `nohup` has the program ignore stays ignored.
        if std::io::stderr().is_terminal() {
            kinds.push(SignalKind::hangup());
        }
        let kinds = kinds.into_iter().map(signal).collect::<std::io::Result<_>>();
        Ok(Self { kinds: kinds.map_err(Error::system("hear signals"))? })
    }

    /// Until the next one.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        use std::task::{Context, Poll};
        let mut any = |context: &mut Context<'_>| self.kinds.iter_mut().any(|kind| kind.poll_recv(context).is_ready());
        std::future::poll_fn(|context| if any(context) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Hears Ctrl-C, inside a Tokio runtime.
    ///
    /// # Errors
    /// None here.
    #[cfg(not(unix))]
    pub fn new() -> Result<Self> {
        Ok(Self {})
    }

    /// Until the next one.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Has a thread of its own call `each` at every signal. Where signals cannot be heard they do what they always do.
pub fn hear(mut each: impl FnMut() + Send + 'static) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let heard = {
        let _inside = runtime.enter();
        Signals::new()
    };
    let Ok(mut signals) = heard else { return };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                signals.next().await;
                each();
            }
        });
    });
}
