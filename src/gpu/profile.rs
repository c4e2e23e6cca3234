//! Time per kernel, from timestamps before and after each dispatch.

use std::collections::BTreeMap;

/// Dispatches per submission while profiling: each takes two timestamps, and WebGPU allows 4096 per query set.
const SLOTS: u32 = 1024;

/// Time and dispatches of one kernel.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Entry {
    /// Seconds on the GPU.
    pub seconds: f64,
    /// Number of dispatches.
    pub dispatches: u64,
}

/// Collects timestamps submission by submission.
pub struct Profile {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    labels: Vec<String>,
    /// Nanoseconds per tick.
    period: f64,
    entries: BTreeMap<String, Entry>,
}

/// The pair of timestamps of one dispatch.
pub struct Slot {
    set: wgpu::QuerySet,
    first: u32,
}

impl Slot {
    /// The timestamps that the compute pass writes.
    pub fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(self.first),
            end_of_pass_write_index: Some(self.first + 1),
        }
    }
}

impl Profile {
    /// A profile for a device with timestamps.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let buffer = |usage| {
            let size = u64::from(SLOTS) * 16;
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("profile"),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count: SLOTS * 2,
        });
        Self {
            set,
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            labels: Vec::new(),
            period: f64::from(queue.get_timestamp_period()),
            entries: BTreeMap::new(),
        }
    }

    /// The slot of the next dispatch.
    pub fn next(&mut self, label: &str) -> Option<Slot> {
        let first = self.labels.len() as u32 * 2;
        self.labels.push(label.to_string());
        Some(Slot { set: self.set.clone(), first })
    }

    /// Whether the submission must go out before the next dispatch.
    pub fn is_full(&self) -> bool {
        self.labels.len() as u32 >= SLOTS
    }

    /// Records the copy of this submission's timestamps.
    pub fn resolve(&mut self, encoder: &mut wgpu::CommandEncoder) {
        if self.labels.is_empty() {
            return;
        }
        let count = self.labels.len() as u32 * 2;
        encoder.resolve_query_set(&self.set, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, u64::from(count) * 8);
    }

    /// Waits for the submission and adds up its times. Profiling may wait; training never does.
    pub fn collect(&mut self, device: &wgpu::Device) {
        if self.labels.is_empty() {
            return;
        }
        let labels = std::mem::take(&mut self.labels);
        let slice = self.staging.slice(..labels.len() as u64 * 16);
        slice.map_async(wgpu::MapMode::Read, |_| {});
        if device.poll(wgpu::PollType::wait_indefinitely()).is_err() {
            return;
        }
        // A lost device leaves the buffer unmapped; the recorder reports the loss itself.
        let Ok(range) = slice.get_mapped_range() else { return };
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&range);
        drop(range);
        self.staging.unmap();
        for (label, pair) in labels.into_iter().zip(ticks.chunks_exact(2)) {
            let entry = self.entries.entry(label).or_default();
            entry.seconds += pair[1].saturating_sub(pair[0]) as f64 * self.period * 1e-9;
            entry.dispatches += 1;
        }
    }

    /// Kernels by time, the slowest first.
    pub fn table(&self) -> Vec<(String, Entry)> {
        let mut rows: Vec<_> = self.entries.iter().map(|(label, entry)| (label.clone(), *entry)).collect();
        rows.sort_by(|left, right| right.1.seconds.total_cmp(&left.1.seconds));
        rows
    }
}
