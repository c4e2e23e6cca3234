//! Signals that ask the program to end: Ctrl-C, SIGTERM, a closed terminal.

use wgpt::{Error, Result};

/// Exit status of a program ended immediately by a signal: 128 plus SIGINT's number, by shell convention.
pub const INTERRUPTED: i32 = 130;

/// SIGINT and SIGTERM, and SIGHUP if there is a terminal that can be closed; on other systems, Ctrl-C.
pub struct Signals {
    #[cfg(unix)]
    kinds: Vec<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Starts receiving signals. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::System`] if the system refuses.
    #[cfg(unix)]
    pub fn new() -> Result<Self> {
        use std::io::IsTerminal;

        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        // Without a terminal SIGHUP has no meaning here, and if `nohup` had the program ignore it, it must stay
        // ignored.
        if std::io::stderr().is_terminal() {
            kinds.push(SignalKind::hangup());
        }
        let kinds = kinds.into_iter().map(signal).collect::<std::io::Result<_>>();
        Ok(Self { kinds: kinds.map_err(Error::system("receive signals"))? })
    }

    /// Waits for the next signal.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        use std::task::{Context, Poll};
        let mut any = |context: &mut Context<'_>| self.kinds.iter_mut().any(|kind| kind.poll_recv(context).is_ready());
        std::future::poll_fn(|context| if any(context) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Starts receiving Ctrl-C. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// None here.
    #[cfg(not(unix))]
    pub fn new() -> Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next signal.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Calls `each` on a thread of its own at every signal. If signals cannot be received, they keep their default effect.
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
