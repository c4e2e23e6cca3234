//! Translates a kernel's text with naga to SPIR-V, MSL and HLSL, on any machine, as wgpu would pass it to a driver.

use wgpu::naga::{
    self, AddressSpace, Module, ShaderStage,
    back::{hlsl, msl, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use super::{compose::says, platform::Platform, reflect};

/// A language that drivers compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Vulkan's.
    SpirV,
    /// Metal's.
    Msl,
    /// Direct3D's, as FXC compiles it: shader model 5.1, without f16 and subgroups.
    Hlsl51,
    /// Direct3D's, as DXC compiles it: shader model 6.2, the first with f16.
    Hlsl62,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SpirV, Self::Msl, Self::Hlsl51, Self::Hlsl62];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpirV => "spirv",
            Self::Msl => "msl",
            Self::Hlsl51 => "hlsl-5.1",
            Self::Hlsl62 => "hlsl-6.2",
        }
    }

    /// The languages, besides WGSL, that the drivers of a platform compile.
    pub fn of(platform: Platform) -> &'static [Self] {
        match platform {
            Platform::Browser => &[],
            Platform::Metal => &[Self::Msl],
            Platform::Dx12 => &[Self::Hlsl51, Self::Hlsl62],
            Platform::Vulkan => &[Self::SpirV],
        }
    }

    /// The file extension.
    pub fn ending(self) -> &'static str {
        match self {
            Self::SpirV => "spv",
            Self::Msl => "metal",
            Self::Hlsl51 | Self::Hlsl62 => "hlsl",
        }
    }
}

/// What a kernel's text requires beyond the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Needs {
    /// f16.
    pub f16: bool,
    /// Subgroups.
    pub subgroups: bool,
    /// Side of the square matrices that a subgroup multiplies as a whole; 0 for none.
    pub cooperative: u32,
    /// 64-bit integers.
    pub int64: bool,
}

/// A kernel's text, parsed and validated.
pub struct Shader {
    module: Module,
    info: ModuleInfo,
    /// What it requires.
    pub needs: Needs,
    /// What it declares.
    pub interface: reflect::Interface,
}

impl Shader {
    /// Parses a text in a native form, and allows what it needs: f16, subgroups, matrices, immediates, and nothing else
    /// beyond the WebGPU baseline.
    ///
    /// # Errors
    /// The compiler's message, with line and column.
    pub fn new(text: &str) -> Result<Self, String> {
        let side = if says(text, "coop_mat16x16") { 16 } else { 8 };
        let cooperative = if says(text, "coop_mat") { side } else { 0 };
        let (f16, subgroups, int64) = (says(text, "f16"), says(text, "subgroup"), says(text, "u64"));
        let needs = Needs { f16, subgroups, cooperative, int64 };
        let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
        // Packing two f16 into a word is part of WGSL.
        let mut allowed = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        for (wanted, capability) in [
            (needs.f16, Capabilities::SHADER_FLOAT16),
            (needs.subgroups, Capabilities::SUBGROUP),
            (needs.cooperative > 0, Capabilities::COOPERATIVE_MATRIX),
            (needs.int64, Capabilities::SHADER_INT64),
            (says(text, "var<immediate>"), Capabilities::IMMEDIATES),
        ] {
            allowed.set(capability, wanted);
        }
        let validated = Validator::new(ValidationFlags::all(), allowed).validate(&module);
        let info = validated.map_err(|error| error.emit_to_string(text))?;
        let interface = reflect::interface(&module, &info)?;
        Ok(Self { module, info, needs, interface })
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(&self) -> u32 {
        let variables = self.module.global_variables.iter().map(|(_, variable)| variable);
        let shared = variables.filter(|variable| variable.space == AddressSpace::WorkGroup);
        shared.map(|variable| self.module.types[variable.ty].inner.size(self.module.to_ctx())).sum()
    }

    /// Why the kernel has no translation into a language; `None` if it has one.
    pub fn missing(&self, language: Language) -> Option<&'static str> {
        let Needs { f16, subgroups, cooperative, int64 } = self.needs;
        match language {
            Language::SpirV => None,
            Language::Msl => (cooperative > 8).then_some("Metal multiplies matrices of 8 by 8 only"),
            Language::Hlsl51 | Language::Hlsl62 if cooperative > 0 => Some("HLSL has no cooperative matrices"),
            Language::Hlsl51 if f16 => Some("f16 needs shader model 6.2"),
            Language::Hlsl51 if subgroups => Some("subgroups need shader model 6.0"),
            Language::Hlsl51 if int64 => Some("64-bit integers need shader model 6.0"),
            Language::Hlsl51 | Language::Hlsl62 => None,
        }
    }

    /// The text in a language (SPIR-V as bytes), with or without bounds checks of indices and loops.
    ///
    /// # Errors
    /// The back end's message, or why there is no translation.
    pub fn translate(&self, language: Language, checked: bool) -> Result<Vec<u8>, String> {
        if let Some(reason) = self.missing(language) {
            return Err(reason.to_string());
        }
        match language {
            Language::SpirV => self.spirv(checked),
            Language::Msl => self.msl(checked),
            Language::Hlsl51 => self.hlsl(hlsl::ShaderModel::V5_1, checked),
            Language::Hlsl62 => self.hlsl(hlsl::ShaderModel::V6_2, checked),
        }
    }

    fn spirv(&self, checked: bool) -> Result<Vec<u8>, String> {
        let options = spv::Options {
            // Vulkan 1.1 is the minimum for wgpu; cooperative matrices require the Vulkan memory model.
            lang_version: (1, 3),
            bounds_check_policies: policies(checked),
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: checked,
            emit_int_div_checks: checked,
            ..spv::Options::default()
        };
        let words = spv::write_vec(&self.module, &self.info, &options, None).map_err(|error| error.to_string())?;
        Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
    }

    fn msl(&self, checked: bool) -> Result<Vec<u8>, String> {
        // Buffers take consecutive slots in declaration order, then the parameters, then the lengths of arrays.
        let mut resources = msl::EntryPointResources::default();
        let mut slot = 0;
        for (_, variable) in self.module.global_variables.iter() {
            let Some(binding) = variable.binding else { continue };
            resources.resources.insert(
                binding,
                msl::BindTarget { buffer: Some(slot), mutable: writable(variable.space), ..msl::BindTarget::default() },
            );
            slot += 1;
        }
        (resources.immediates_buffer, resources.sizes_buffer) = (Some(slot), Some(slot + 1));
        let options = msl::Options {
            // Subgroups need 2.1, matrices 2.3; f16 is as old as Metal.
            lang_version: (2, 4),
            per_entry_point_map: [("main".to_string(), resources)].into(),
            fake_missing_bindings: false,
            bounds_check_policies: policies(checked),
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: checked,
            emit_int_div_checks: checked,
            ..msl::Options::default()
        };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, "main".to_string())),
            ..msl::PipelineOptions::default()
        };
        let (text, info) =
            msl::write_string(&self.module, &self.info, &options, &pipeline).map_err(|error| error.to_string())?;
        match info.entry_point_names.into_iter().find_map(Result::err) {
            Some(error) => Err(error.to_string()),
            None => Ok(text.into_bytes()),
        }
    }

    fn hlsl(&self, shader_model: hlsl::ShaderModel, checked: bool) -> Result<Vec<u8>, String> {
        let target = |space, register| hlsl::BindTarget {
            space,
            register,
            restrict_indexing: checked,
            ..hlsl::BindTarget::default()
        };
        let bound = self.module.global_variables.iter().filter_map(|(_, variable)| variable.binding);
        let options = hlsl::Options {
            shader_model,
            binding_map: bound.map(|at| (at, target(at.group as u8, at.binding))).collect(),
            fake_missing_bindings: false,
            immediates_target: Some(target(1, 0)),
            zero_initialize_workgroup_memory: false,
            restrict_indexing: checked,
            force_loop_bounding: checked,
            ..hlsl::Options::default()
        };
        let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".to_string())) };
        let mut text = String::new();
        let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(&self.module, &self.info, None);
        let names = written.map_err(|error| error.to_string())?.entry_point_names;
        match names.into_iter().find_map(Result::err) {
            Some(error) => Err(error.to_string()),
            None => Ok(text.into_bytes()),
        }
    }
}

fn policies(checked: bool) -> BoundsCheckPolicies {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

fn writable(space: AddressSpace) -> bool {
    matches!(space, AddressSpace::Storage { access } if access.contains(naga::StorageAccess::STORE))
}
