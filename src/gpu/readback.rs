//! Copies bytes from the GPU to the host without stalling the commands in between.

use std::sync::Arc;

use super::{Bind, Gpu, Storage, pool::Purpose, wait::Signal};
use crate::{Error, Result};

/// A copy in progress. Ask for its bytes as late as possible: recording goes on meanwhile.
#[must_use]
pub struct Readback {
    gpu: Gpu,
    staging: Arc<Storage>,
    size: u64,
    epoch: u64,
}

impl Gpu {
    /// Records a copy of `source` to the host. Size and offset must be multiples of four.
    pub fn read(&self, source: Bind<'_>) -> Readback {
        let staging = self.allocate(source.size, Purpose::Readback);
        let epoch = self.copy_out(source, &staging);
        Readback { gpu: self.clone(), staging, size: source.size, epoch }
    }
}

/// A copy that was submitted to the GPU and can be polled for arrival. Its buffer is being mapped, and is unmapped before
/// the pool gets it back, even if the bytes are never asked for.
#[must_use]
pub struct PendingCopy {
    copy: Readback,
    /// `None` where there is nothing to unmap: on an imagined device, or when mapping failed.
    mapped: Option<Signal<Mapped>>,
}

impl Readback {
    /// Submits everything recorded so far without waiting; [`PendingCopy::is_here`] tells when the bytes have arrived.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn hand_over(self) -> Result<PendingCopy> {
        if self.gpu.is_imagined() {
            return Ok(PendingCopy { copy: self, mapped: None });
        }
        self.gpu.submission_of(self.epoch)?;
        Ok(self.map())
    }

    /// Requests that the bytes be mapped; only valid once the copy has been submitted.
    fn map(self) -> PendingCopy {
        let signal = Signal::<Mapped>::default();
        let sender = signal.clone();
        self.staging.buffer().slice(..self.size).map_async(wgpu::MapMode::Read, move |result| sender.send(result));
        PendingCopy { copy: self, mapped: Some(signal) }
    }

    /// The bytes, once the GPU has written them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], or another error that the driver has reported.
    pub async fn bytes(self) -> Result<Vec<u8>> {
        if self.gpu.is_imagined() {
            return Ok(vec![0; self.size as usize]);
        }
        // Mapping is refused while the copy is only recorded.
        self.gpu.reach(self.epoch)?;
        self.map().bytes().await
    }

    /// The bytes as numbers.
    ///
    /// # Errors
    /// As [`Readback::bytes`].
    pub async fn numbers<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        Ok(bytemuck::pod_collect_to_vec(&self.bytes().await?))
    }
}

impl PendingCopy {
    /// Whether the bytes have arrived. Never waits.
    pub fn is_here(&self) -> bool {
        self.copy.gpu.turn();
        self.mapped.as_ref().is_none_or(Signal::is_sent)
    }

    /// The numbers, once they have arrived.
    ///
    /// # Errors
    /// As [`Readback::bytes`].
    pub async fn numbers<T: bytemuck::Pod>(self) -> Result<Vec<T>> {
        if self.mapped.is_some() {
            self.copy.gpu.reach(self.copy.epoch)?;
        }
        Ok(bytemuck::pod_collect_to_vec(&self.bytes().await?))
    }

    /// The bytes, once they are mapped. Another thread that uses the device may be the one that is told.
    async fn bytes(mut self) -> Result<Vec<u8>> {
        let Some(mapped) = self.mapped.clone() else { return Ok(vec![0; self.copy.size as usize]) };
        self.copy.gpu.turn();
        let mapped = mapped.await;
        if mapped.is_err() {
            self.mapped = None;
        }
        self.copy.gpu.check()?;
        let lost = |reason: String| Error::DeviceLost { reason, kernel: "readback".to_string(), saved: None };
        mapped.map_err(|error| lost(error.to_string()))?;
        let slice = self.copy.staging.buffer().slice(..self.copy.size);
        Ok(slice.get_mapped_range().map_err(|error| lost(error.to_string()))?.to_vec())
    }
}

impl Drop for PendingCopy {
    fn drop(&mut self) {
        // What could not be mapped must not be unmapped.
        if self.mapped.as_ref().is_some_and(|mapped| !matches!(mapped.take(), Some(Err(_)))) {
            self.copy.staging.buffer().unmap();
        }
    }
}

type Mapped = Result<(), wgpu::BufferAsyncError>;
