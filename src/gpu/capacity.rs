//! Finds out how much memory the adapter has left. No API tells, so it is tried.

use super::Gpu;
use crate::Result;

/// Bytes of one trial buffer, small enough for every adapter.
const PART: u64 = 128 << 20;

impl Gpu {
    /// Whether `bytes` more fit; [`None`] if the adapter does not report its memory.
    ///
    /// # Errors
    /// The driver's errors other than a lack of memory.
    pub async fn fits(&self, bytes: u64) -> Result<Option<bool>> {
        Ok(match self.info().device_type {
            // A software adapter uses the machine's own memory, and reports more than there is.
            wgpu::DeviceType::Cpu => available().map(|free| bytes <= free),
            _ => Some(self.has_room(bytes).await?),
        })
    }

    /// Whether `bytes` more can be allocated: allocates them as buffers and releases them again.
    ///
    /// # Errors
    /// Returns any other error of the driver.
    async fn has_room(&self, bytes: u64) -> Result<bool> {
        let mut parts = Vec::new();
        let mut rest = bytes;
        while rest > 0 {
            let size = rest.min(PART).next_multiple_of(4);
            let scope = self.device().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            parts.push(self.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("trial"),
                size,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            }));
            if scope.pop().await.is_some() {
                return Ok(false);
            }
            rest = rest.saturating_sub(size);
        }
        self.check().map(|()| true)
    }
}

/// Bytes of memory that are still available to programs, if the system reports it.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
