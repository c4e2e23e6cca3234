//! Bytes from the GPU to the host, without stopping the commands in between.

use std::sync::Arc;

use super::{Bind, Gpu, Storage, pool::Purpose, wait::Signal};
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
        // Mapping before that would be refused while the copy is only recorded.
        self.gpu.reach(self.epoch)?;
        let signal = Signal::<Mapped>::default();
        let sender = signal.clone();
        slice.map_async(wgpu::MapMode::Read, move |result| sender.send(result));
        self.gpu.turn();
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
