//! What the adapter offers beyond the WebGPU baseline. Every capability has a plain fallback.

use wgpu::{Features, Limits};

use super::adapter::on_processor;
use crate::{Error, Result};

/// Bytes of immediates that every native backend supports.
pub const IMMEDIATE_BYTES: u32 = 128;

/// The features that can be left unused, by their names in `WGPT_WITHOUT`.
pub const OPTIONAL: &[(&str, Features)] = &[
    ("f16", Features::SHADER_F16),
    ("subgroups", Features::SUBGROUP),
    ("cooperative", Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
    ("immediates", Features::IMMEDIATES),
    ("timestamps", Features::TIMESTAMP_QUERY),
    ("pipeline-cache", Features::PIPELINE_CACHE),
    ("int64", Features::SHADER_INT64),
];

/// The value of `WGPT_LIMITS`.
pub const MINIMUM: &str = "minimum";

/// Optional capabilities of the opened device and the limits that kernels must respect.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Capabilities {
    /// f16 in storage buffers and arithmetic.
    pub f16: bool,
    /// Whether the driver runs kernels on the processor, where there are no registers of a lane to run out of.
    pub processor: bool,
    /// Smallest and largest number of lanes in a subgroup; `None` without subgroup operations.
    pub subgroups: Option<(u32, u32)>,
    /// Side of the square matrices that a subgroup multiplies as a whole, in f16 with sums in
    /// f32; `None` where it cannot.
    pub cooperative: Option<u32>,
    /// Parameters in the command stream instead of a uniform buffer.
    pub immediates: bool,
    /// Whether vectors are loaded as pairs of 64-bit integers: where the driver runs kernels on the processor, see
    /// [`Form::pairs`](super::compose::Form::pairs).
    pub pairs: bool,
    /// Timestamps at the beginning and end of a compute pass.
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
    /// A binding's offset must be a multiple of this many bytes.
    pub alignment: u64,
    /// Variants to leave unused, by their own name or their kernel's.
    pub unused: Vec<String>,
}

impl Capabilities {
    /// What WebGPU guarantees on every adapter, and nothing more.
    pub fn baseline() -> Self {
        Self::within(&Limits::defaults())
    }

    /// The given limits, without any optional capability.
    fn within(limits: &Limits) -> Self {
        Self {
            f16: false,
            processor: false,
            subgroups: None,
            cooperative: None,
            immediates: false,
            pairs: false,
            timestamps: false,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup,
            groups: limits.max_compute_workgroups_per_dimension,
            binding: limits.max_storage_buffer_binding_size,
            buffer: limits.max_buffer_size,
            alignment: u64::from(limits.min_storage_buffer_offset_alignment),
            unused: Vec::new(),
        }
    }

    /// What to request from `adapter`: its features except those in `without`, a comma-separated list of names from
    /// [`OPTIONAL`]; and its own limits, or if `limits` is [`MINIMUM`], those that WebGPU guarantees everywhere.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown word.
    pub fn request(adapter: &wgpu::Adapter, without: &str, limits: &str) -> Result<(Features, Limits)> {
        let mut features = adapter.features() & wanted(without)?;
        // Nothing but loads on the processor uses it.
        if !on_processor(&adapter.get_info()) {
            features.remove(Features::SHADER_INT64);
        }
        let mut limits = match minimum(limits)? {
            false => adapter.limits(),
            // An adapter that offers even less, as some outside WebGPU do, gives what it has.
            true => Limits::defaults().or_worse_values_from(&adapter.limits()),
        };
        limits.max_immediate_size = if features.contains(Features::IMMEDIATES) { IMMEDIATE_BYTES } else { 0 };
        Ok((features, limits))
    }

    /// The capabilities that `device` of `adapter` was opened with. `unused` names variants to leave
    /// unused, separated by `;`.
    pub fn of(device: &wgpu::Device, adapter: &wgpu::Adapter, unused: &str) -> Self {
        let (features, info) = (device.features(), adapter.get_info());
        let f16 = features.contains(Features::SHADER_F16);
        let matrices = f16 && features.contains(Features::SUBGROUP | Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        Self {
            f16,
            processor: on_processor(&info),
            subgroups: features
                .contains(Features::SUBGROUP)
                .then_some((info.subgroup_min_size, info.subgroup_max_size)),
            cooperative: if matrices { matrix_side(&adapter.cooperative_matrix_properties()) } else { None },
            immediates: features.contains(Features::IMMEDIATES),
            pairs: features.contains(Features::SHADER_INT64),
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            unused: unused.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::to_string).collect(),
            ..Self::within(&device.limits())
        }
    }

    /// Whether the variant or kernel of this name may be used.
    pub fn allows(&self, name: &str) -> bool {
        !self.unused.iter().any(|unused| unused == name)
    }

    /// Whether workgroups of `lanes` leave no lane of a subgroup idle, as far as subgroups are known: otherwise a kernel
    /// runs at a fraction of the adapter's speed.
    pub fn fills_subgroups(&self, lanes: u32) -> bool {
        self.subgroups.is_none_or(|(least, _)| lanes >= least)
    }

    /// Whether an invocation has well over a hundred registers. GPUs do not tell; those whose subgroups always have 32 lanes or
    /// more (NVIDIA's, AMD's, Apple's, Qualcomm's) have 128 to 256, narrower ones (Intel's, Arm's) 32 to 128. A processor has
    /// few, and memory that is nearly as fast.
    pub fn many_registers(&self) -> bool {
        self.processor || self.subgroups.is_some_and(|(least, _)| least >= 32)
    }

    /// Whether every subgroup has exactly `lanes` lanes.
    pub fn subgroups_of(&self, lanes: u32) -> bool {
        self.subgroups == Some((lanes, lanes))
    }
}

/// The names of the optional features that `such` selects.
pub fn names(such: impl Fn(Features) -> bool) -> Vec<&'static str> {
    OPTIONAL.iter().filter(|(_, feature)| such(*feature)).map(|(name, _)| *name).collect()
}

/// Whether `limits` asks for those that WebGPU guarantees everywhere.
pub(super) fn minimum(limits: &str) -> Result<bool> {
    match limits.trim() {
        "" => Ok(false),
        MINIMUM => Ok(true),
        word => Err(Error::Usage(format!("WGPT_LIMITS={word}: give {MINIMUM}, or nothing"))),
    }
}

/// The optional features except those that `without` names.
pub(super) fn wanted(without: &str) -> Result<Features> {
    let mut wanted = OPTIONAL.iter().fold(Features::empty(), |all, (_, feature)| all | *feature);
    for word in without.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let found = OPTIONAL.iter().find(|(name, _)| *name == word);
        let (_, feature) = found.ok_or_else(|| {
            let known = names(|_| true).join(", ");
            Error::Usage(format!("WGPT_WITHOUT={without}: there is no '{word}'; known are {known}"))
        })?;
        wanted.remove(*feature);
    }
    Ok(wanted)
}

/// The largest side offered for square f16 matrices whose products are summed in f32, among those WGSL has a type for.
fn matrix_side(offered: &[wgpu::CooperativeMatrixProperties]) -> Option<u32> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let fits = |side: &u32| {
        offered
            .iter()
            .any(|it| (it.m_size, it.n_size, it.k_size, it.ab_type, it.cr_type) == (*side, *side, *side, F16, F32))
    };
    [16, 8].into_iter().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_left_out_by_name() {
        let all = wanted("").unwrap();
        assert!(OPTIONAL.iter().all(|(_, feature)| all.contains(*feature)));
        let some = wanted("f16, subgroups,").unwrap();
        assert_eq!(all - some, Features::SHADER_F16 | Features::SUBGROUP);
        let said = wanted("f16,subgroup").unwrap_err().to_string();
        assert!(said.contains("no 'subgroup'") && said.contains("subgroups, cooperative"), "{said}");
    }
}
