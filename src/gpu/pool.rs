//! Buffers by size class. The buffer of a dropped tensor is reused.
//!
//! Invariant: among the free buffers of a class, the one with the smallest number is taken. So a step that allocates
//! and frees in the same order as the step before gets the same buffers, and every cached bind group fits again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, Weak},
};

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Read and written by kernels.
    Compute,
    /// Like `Compute`, with exactly the requested size: a large buffer not worth rounding up, or the mirror of another.
    Arena,
    /// Target of copies that the host maps and reads.
    Readback,
}

/// One buffer, returned to its pool when dropped.
#[derive(Debug)]
pub struct Storage {
    buffer: wgpu::Buffer,
    id: u64,
    /// The buffer's size in bytes; on an imagined device, the size it would have.
    size: u64,
    purpose: Purpose,
    pool: Weak<Pool>,
}

impl Storage {
    /// The buffer; it may be larger than requested.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// The buffer's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Distinct for each buffer of the pool, and kept when the buffer is reused.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let mut state = pool.lock();
            state.live_bytes -= self.size;
            state.free.entry((self.purpose, self.size)).or_default().insert(self.id, self.buffer.clone());
        }
    }
}

#[derive(Default)]
struct State {
    free: HashMap<(Purpose, u64), BTreeMap<u64, wgpu::Buffer>>,
    created: u64,
    live_bytes: u64,
    peak_bytes: u64,
    total_bytes: u64,
}

/// The buffers of one device.
#[derive(Default)]
pub struct Pool {
    state: Mutex<State>,
    /// On an imagined device every buffer is this one, whatever its size; it is never read or written.
    stand_in: Option<wgpu::Buffer>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("created", &self.created()).finish_non_exhaustive()
    }
}

/// Rounds up to a multiple of an eighth of the power of two below, so at most an eighth is wasted and classes stay few.
fn class(bytes: u64, purpose: Purpose) -> u64 {
    let bytes = bytes.max(4);
    if bytes <= 2048 || purpose == Purpose::Arena {
        return bytes.next_multiple_of(256);
    }
    bytes.next_multiple_of((1 << (63 - bytes.leading_zeros())) / 8)
}

fn create(device: &wgpu::Device, size: u64, purpose: Purpose) -> wgpu::Buffer {
    let usage = match purpose {
        Purpose::Compute | Purpose::Arena => {
            wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST
        }
        Purpose::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
    };
    device.create_buffer(&wgpu::BufferDescriptor { label: Some("pool"), size, usage, mapped_at_creation: false })
}

impl Pool {
    /// A pool that counts like any other but allocates next to nothing.
    pub fn imagined(device: &wgpu::Device) -> Self {
        Self { state: Mutex::default(), stand_in: Some(create(device, 256, Purpose::Compute)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A buffer of at least `bytes`; its contents are whatever was there before.
    pub fn take(self: &Arc<Self>, device: &wgpu::Device, bytes: u64, purpose: Purpose) -> Arc<Storage> {
        let size = class(bytes, purpose);
        let mut state = self.lock();
        state.live_bytes += size;
        state.peak_bytes = state.peak_bytes.max(state.live_bytes);
        let recycled = state.free.get_mut(&(purpose, size)).and_then(BTreeMap::pop_first);
        let (id, buffer) = recycled.unwrap_or_else(|| {
            state.created += 1;
            state.total_bytes += size;
            (state.created, self.stand_in.clone().unwrap_or_else(|| create(device, size, purpose)))
        });
        Arc::new(Storage { buffer, id, size, purpose, pool: Arc::downgrade(self) })
    }

    /// Buffers created so far.
    pub fn created(&self) -> u64 {
        self.lock().created
    }

    /// Bytes in use now, their peak, and bytes held including free buffers.
    pub fn bytes(&self) -> (u64, u64, u64) {
        let state = self.lock();
        (state.live_bytes, state.peak_bytes, state.total_bytes)
    }

    /// Drops the free buffers.
    pub fn trim(&self) {
        let mut state = self.lock();
        let freed: u64 = state.free.iter().map(|((_, size), buffers)| size * buffers.len() as u64).sum();
        state.free.clear();
        state.total_bytes -= freed;
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, class};

    #[test]
    fn classes_waste_little_and_hold_what_was_asked() {
        for bytes in [0, 1, 255, 256, 257, 2048, 2049, 4097, 1_000_003, (1 << 27) + 5] {
            let size = class(bytes, Purpose::Compute);
            assert!(size >= bytes && size % 256 == 0 && (bytes < 2048 || size <= bytes + bytes / 8));
        }
    }
}
