//! Kernels, their variants, and the pipelines compiled from them.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{Form, Gpu, compose, reflect};
use crate::{Error, Result, trusted};

/// A compute shader: a file below `shaders/`, or one of your own for [`Gpu::dispatch`].
#[derive(Debug)]
pub struct Kernel {
    /// The name in messages and profiles; a file's is its own without extension.
    pub name: &'static str,
    /// The WGSL text, whose entry point is `main`. `// @include "lib/index.wgsl"` takes in a file of `shaders/lib`.
    pub source: &'static str,
}

/// Declares kernels by file name: `kernels! { ADD = "add"; }`.
#[macro_export]
macro_rules! kernels {
    ($($(#[$meta:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$meta])* pub static $name: $crate::gpu::Kernel = $crate::gpu::Kernel {
            name: $file,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file, ".wgsl")),
        };)*
    };
}

/// The new right-hand side of a `const` or `alias` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Constant {
    /// `4u`
    Uint(u32),
    /// `true`
    Bool(bool),
    /// A type's name.
    Type(&'static str),
    /// The file of a named include.
    File(&'static str),
}

impl std::fmt::Display for Constant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uint(value) => write!(formatter, "{value}u"),
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Type(name) => formatter.write_str(name),
            Self::File(name) => write!(formatter, "\"{name}\""),
        }
    }
}

impl From<u32> for Constant {
    fn from(value: u32) -> Self {
        Self::Uint(value)
    }
}

impl From<bool> for Constant {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A kernel with some of its constants replaced: the key of the pipeline cache.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// The replaced constants, sorted by name.
    pub constants: Vec<(&'static str, Constant)>,
    /// Whether it keeps its run-time checks even where the library's own kernels do without.
    pub(super) checked: bool,
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        // Kernels outside the library may have names that are taken.
        std::ptr::eq(self.kernel, other.kernel) && self.constants == other.constants && self.checked == other.checked
    }
}

impl Eq for Variant {}

impl std::hash::Hash for Variant {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.kernel.name.hash(state);
        self.constants.hash(state);
    }
}

impl std::fmt::Display for Variant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.kernel.name)?;
        for (name, value) in &self.constants {
            write!(formatter, " {name}={value}")?;
        }
        Ok(())
    }
}

impl Kernel {
    /// The kernel with its constants as written.
    pub fn plain(&'static self) -> Variant {
        Variant { kernel: self, constants: Vec::new(), checked: false }
    }

    /// The kernel with one constant replaced.
    pub fn set(&'static self, name: &'static str, value: impl Into<Constant>) -> Variant {
        self.plain().set(name, value)
    }
}

impl Variant {
    /// Replaces one more constant.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<Constant>) -> Self {
        let position = self.constants.partition_point(|(other, _)| *other < name);
        self.constants.insert(position, (name, value.into()));
        self
    }

    /// The variant as a file name without extension; flags that are off are left out.
    pub fn file_name(&self) -> String {
        let word = |(name, value): &(&'static str, Constant)| {
            let name = name.trim_end_matches("_element");
            Some(match value {
                Constant::Bool(false) => return None,
                Constant::Bool(true) => name.to_string(),
                Constant::Uint(value) => format!("{name}{value}"),
                Constant::Type(kind) => format!("{name}-{}", kind.replace(|c: char| !c.is_ascii_alphanumeric(), "")),
                Constant::File(file) => file.trim_start_matches("lib/").trim_end_matches(".wgsl").to_string(),
            })
        };
        std::iter::once(self.kernel.name.to_string())
            .chain(self.constants.iter().filter_map(word))
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The composed WGSL text, in the form that its compiler accepts.
    ///
    /// # Errors
    /// [`Error::Kernel`] for an unknown include or constant.
    pub fn text(&self, form: Form) -> Result<String> {
        let replacements: Vec<_> = self.constants.iter().map(|(name, value)| (*name, value.to_string())).collect();
        compose::compose(self.kernel.source, &replacements, form).map_err(|reason| self.error(reason))
    }

    /// An [`Error::Kernel`] that names this variant.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::Kernel { kernel: self.to_string(), reason: reason.into() }
    }
}

/// A compiled variant.
#[derive(Debug)]
pub struct Pipeline {
    /// Distinct for each pipeline of the process.
    pub id: u32,
    /// The variant's name and constants, for profiles and errors.
    pub label: String,
    /// What the kernel's text declares.
    pub interface: reflect::Interface,
    /// The compute pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// The layout of group 0.
    pub layout: wgpu::BindGroupLayout,
    /// Group 1, the parameters, if the adapter has no immediates.
    pub uniform: Option<wgpu::BindGroup>,
}

impl Gpu {
    /// The pipeline of `variant`, compiled on first use.
    ///
    /// # Errors
    /// [`Error::Kernel`] with the compiler's words.
    pub(super) fn pipeline(&self, variant: &Variant) -> Result<Arc<Pipeline>> {
        if let Some(pipeline) = self.pipelines().get(variant) {
            return Ok(pipeline.clone());
        }
        let pipeline = Pipeline::new(self, variant)?;
        self.pipelines().insert(variant.clone(), pipeline.clone());
        Ok(pipeline)
    }
}

impl Pipeline {
    /// Composes, reflects and compiles `variant`.
    ///
    /// # Errors
    /// [`Error::Kernel`] with the compiler's words.
    pub(super) fn new(gpu: &Gpu, variant: &Variant) -> Result<Arc<Self>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let immediates = gpu.capabilities().immediates;
        let text = variant.text(Form::of(gpu.capabilities()))?;
        let (module, info) = reflect::parse(&text).map_err(|reason| variant.error(reason))?;
        let interface = reflect::interface(&module, &info).map_err(|reason| variant.error(reason))?;
        let label = variant.to_string();
        let entries: Vec<_> = interface
            .bindings
            .iter()
            .map(|binding| entry(binding.index, wgpu::BufferBindingType::Storage { read_only: binding.read_only }))
            .collect();
        let device = gpu.device();
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let has_params = interface.params_bytes > 0;
        let uniform = (has_params && !immediates).then(|| gpu.uniform_group());
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout), uniform.as_ref().map(|(layout, _)| layout)]
                [..if uniform.is_some() { 2 } else { 1 }],
            immediate_size: if immediates { interface.params_bytes } else { 0 },
        });
        // The module that was reflected is compiled, so the text is parsed once. A browser compiles the text itself.
        let source = match cfg!(target_family = "wasm") {
            false => wgpu::ShaderSource::Naga(Cow::Owned(module)),
            true => wgpu::ShaderSource::Wgsl(Cow::Owned(variant.text(Form::BROWSER)?)),
        };
        let shader = wgpu::ShaderModuleDescriptor { label: Some(&label), source };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &trusted::shader_module(device, shader, gpu.checked() || variant.checked),
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: gpu.pipeline_cache(),
        });
        gpu.check()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self { id, label, interface, pipeline, layout, uniform: uniform.map(|(_, group)| group) }))
    }
}

/// A compute-stage layout entry for a buffer; uniforms take a dynamic offset into the recorder's ring.
pub fn entry(binding: u32, kind: wgpu::BufferBindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: kind,
            has_dynamic_offset: kind == wgpu::BufferBindingType::Uniform,
            min_binding_size: None,
        },
        count: None,
    }
}
