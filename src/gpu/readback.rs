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

/// A copy that was submitted to the GPU and can be polled for arrival.
#[must_use]
pub struct PendingCopy {
    copy: Readback,
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
        Ok(PendingCopy { mapped: Some(self.map()), copy: self })
    }

    /// Requests that the bytes be mapped; only valid once the copy has been submitted.
    fn map(&self) -> Signal<Mapped> {
        let signal = Signal::<Mapped>::default();
        let sender = signal.clone();
        self.staging.buffer().slice(..self.size).map_async(wgpu::MapMode::Read, move |result| sender.send(result));
        signal
    }

    /// The bytes of the copy, once mapped.
    fn take(&self, mapped: Mapped) -> Result<Vec<u8>> {
        self.gpu.check()?;
        let lost = |reason: String| Error::DeviceLost { reason, kernel: "readback".to_string(), saved: None };
        mapped.map_err(|error| lost(error.to_string()))?;
        let slice = self.staging.buffer().slice(..self.size);
        let bytes = slice.get_mapped_range().map_err(|error| lost(error.to_string()))?.to_vec();
        self.staging.buffer().unmap();
        Ok(bytes)
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
        let signal = self.map();
        self.gpu.turn();
        let mapped = signal.await;
        self.take(mapped)
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
        let Self { copy, mapped } = self;
        let Some(mapped) = mapped else { return copy.numbers().await };
        copy.gpu.reach(copy.epoch)?;
        copy.gpu.turn();
        let mapped = mapped.await;
        Ok(bytemuck::pod_collect_to_vec(&copy.take(mapped)?))
    }
}

type Mapped = Result<(), wgpu::BufferAsyncError>;
