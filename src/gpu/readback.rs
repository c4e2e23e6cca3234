//! Bytes from the GPU to the host, without stopping the commands in between.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use super::{Bind, Gpu, Storage, pool::Purpose};
use crate::{Error, Result};

/// A copy under way. Ask for its bytes as late as possible: recording goes on meanwhile.
#[must_use]
pub struct Readback {
    gpu: Gpu,
    staging: Arc<Storage>,
    size: u64,
    epoch: u64,
}

impl Gpu {
    /// Records a copy of `source` to the host. Size and offset are multiples of four.
    pub fn read(&self, source: Bind<'_>) -> Readback {
        let staging = self.allocate(source.size, Purpose::Readback);
        let epoch = self.copy_out(source, &staging);
        Readback { gpu: self.clone(), staging, size: source.size, epoch }
    }

    /// Waits for everything recorded so far.
    ///
    /// # Errors
    /// Whatever the driver complained about meanwhile.
    pub fn finish(&self) -> Result<()> {
        self.wait(None)
    }
}

impl Readback {
    /// The bytes, once the GPU has written them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], or what else the driver reported.
    pub async fn bytes(self) -> Result<Vec<u8>> {
        if self.gpu.is_imagined() {
            return Ok(vec![0; self.size as usize]);
        }
        let slice = self.staging.buffer().slice(..self.size);
        // Mapping before waiting would be refused while the copy is only recorded.
        self.gpu.wait(Some(self.epoch))?;
        let signal = Signal::default();
        let sender = signal.clone();
        slice.map_async(wgpu::MapMode::Read, move |result| sender.send(result));
        // Natively nobody else drives the callbacks; in a browser this does nothing and the page's loop does.
        let _ = self.gpu.device().poll(wgpu::PollType::Poll);
        let mapped = signal.await;
        self.gpu.check()?;
        let lost = |reason: String| Error::DeviceLost { reason, kernel: "readback".to_string(), saved: None };
        mapped.map_err(|error| lost(error.to_string()))?;
        let bytes = slice.get_mapped_range().map_err(|error| lost(error.to_string()))?.to_vec();
        self.staging.buffer().unmap();
        Ok(bytes)
    }

    /// The bytes as numbers.
    ///
    /// # Errors
    /// As [`Readback::bytes`].
    pub async fn numbers<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        Ok(bytemuck::pod_collect_to_vec(&self.bytes().await?))
    }
}

type Mapped = Result<(), wgpu::BufferAsyncError>;

/// A future that the map callback completes.
#[derive(Clone, Default)]
struct Signal(Arc<Mutex<(Option<Mapped>, Option<Waker>)>>);

impl Signal {
    fn send(&self, result: Mapped) {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.0 = Some(result);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl Future for Signal {
    type Output = Mapped;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Mapped> {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(result) = state.0.take() {
            return Poll::Ready(result);
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}
