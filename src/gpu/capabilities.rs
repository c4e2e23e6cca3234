//! What the adapter offers beyond the WebGPU baseline. Every capability has a plain fallback.

use wgpu::{Features, Limits};

/// Immediates that every native backend can hold, in bytes.
pub const IMMEDIATE_BYTES: u32 = 128;

/// Optional abilities of the opened device and the limits that kernels must respect.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Capabilities {
    /// f16 in storage buffers and arithmetic.
    pub f16: bool,
    /// Smallest and largest number of lanes in a subgroup; `None` without subgroup operations.
    pub subgroups: Option<(u32, u32)>,
    /// Parameters in the command stream instead of a uniform buffer.
    pub immediates: bool,
    /// Timestamps at the borders of a compute pass.
    pub timestamps: bool,
    /// Bytes of workgroup memory per workgroup.
    pub workgroup_memory: u32,
    /// Invocations per workgroup.
    pub invocations: u32,
    /// Workgroups per grid dimension.
    pub groups: u32,
    /// Bytes of one storage binding; larger tensors are bound range by range.
    pub binding: u64,
    /// Bytes of one buffer.
    pub buffer: u64,
    /// A binding's offset is a multiple of this many bytes.
    pub alignment: u64,
}

impl Capabilities {
    /// What to ask of `adapter`: the features that it has and `without` does not name, and its own limits.
    ///
    /// `without` is a comma-separated list of `f16`, `subgroups`, `immediates`, `timestamps`, `pipeline-cache`.
    pub fn request(adapter: &wgpu::Adapter, without: &str) -> (Features, Limits) {
        let mut wanted = Features::empty();
        for (name, feature) in [
            ("f16", Features::SHADER_F16),
            ("subgroups", Features::SUBGROUP),
            ("immediates", Features::IMMEDIATES),
            ("timestamps", Features::TIMESTAMP_QUERY),
            ("pipeline-cache", Features::PIPELINE_CACHE),
        ] {
            if !without.split(',').any(|word| word.trim() == name) {
                wanted |= feature;
            }
        }
        let features = adapter.features() & wanted;
        let mut limits = adapter.limits();
        limits.max_immediate_size = if features.contains(Features::IMMEDIATES) { IMMEDIATE_BYTES } else { 0 };
        (features, limits)
    }

    /// What `device` was opened with.
    pub fn of(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Self {
        let (features, limits) = (device.features(), device.limits());
        Self {
            f16: features.contains(Features::SHADER_F16),
            subgroups: features
                .contains(Features::SUBGROUP)
                .then_some((info.subgroup_min_size, info.subgroup_max_size)),
            immediates: features.contains(Features::IMMEDIATES),
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup,
            groups: limits.max_compute_workgroups_per_dimension,
            binding: limits.max_storage_buffer_binding_size,
            buffer: limits.max_buffer_size,
            alignment: u64::from(limits.min_storage_buffer_offset_alignment),
        }
    }

    /// Whether every subgroup has exactly `lanes` lanes.
    pub fn subgroups_of(&self, lanes: u32) -> bool {
        self.subgroups == Some((lanes, lanes))
    }
}
