//! Waiting for the GPU: the only place that knows who runs the callbacks. Natively the waiting thread does; in a browser
//! the page's event loop does, and nothing here may block it.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use super::Gpu;
use crate::{Error, Result};

impl Gpu {
    /// Waits for everything recorded so far.
    ///
    /// # Errors
    /// Returns any error that the driver has reported meanwhile.
    pub async fn finish(&self) -> Result<()> {
        if self.is_imagined() {
            return self.check();
        }
        if cfg!(target_family = "wasm") {
            self.submission(None);
            let signal = Signal::<()>::default();
            let sender = signal.clone();
            self.queue().on_submitted_work_done(move || sender.send(()));
            signal.await;
            return self.check();
        }
        self.block(None)
    }

    /// Makes sure that submission `epoch` has been submitted and, natively, waits for it, so that mapping
    /// what it writes takes no time.
    pub(super) fn reach(&self, epoch: u64) -> Result<()> {
        if cfg!(target_family = "wasm") {
            return self.submission_of(epoch);
        }
        self.block(Some(epoch))
    }

    /// Makes sure that submission `epoch` has been submitted, without waiting.
    pub(super) fn submission_of(&self, epoch: u64) -> Result<()> {
        self.submission(Some(epoch));
        self.check()
    }

    /// Runs the callbacks that are due. In a browser they run by themselves.
    pub(super) fn turn(&self) {
        // A failed poll means a lost device, which the next check reports with its reason.
        let _ = self.device().poll(wgpu::PollType::Poll);
    }

    /// Blocks this thread until a submission is done, or all of them for `None`.
    fn block(&self, epoch: Option<u64>) -> Result<()> {
        let submission_index = self.submission(epoch);
        let waited = self.device().poll(wgpu::PollType::Wait { submission_index, timeout: None });
        self.check()?;
        waited.map(|_| ()).map_err(|error| Error::DeviceLost {
            reason: error.to_string(),
            kernel: self.recorder().last_kernel().to_string(),
            saved: None,
        })
    }
}

/// The result of `future`, for callers that are not `async`. Natively it waits. Mostly the result is
/// there already, because waiting for the GPU blocks the thread, but another thread that uses the same device may run the
/// callback.
///
/// # Errors
/// Returns the errors of `future`; [`Error::WouldBlock`] in a browser, where nothing may block the page.
pub fn now<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    #[cfg(not(target_family = "wasm"))]
    return pollster::block_on(future);
    #[cfg(target_family = "wasm")]
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::WouldBlock),
    }
}

/// A future that a callback completes.
pub(super) struct Signal<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((None, None))))
    }
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Signal<T> {
    /// Whether it is complete.
    pub fn is_sent(&self) -> bool {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0.is_some()
    }

    /// Its result, if it is complete and nobody has taken it.
    pub fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0.take()
    }

    /// Completes it.
    pub fn send(&self, result: T) {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.0 = Some(result);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Signal<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(result) = state.0.take() {
            return Poll::Ready(result);
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}
