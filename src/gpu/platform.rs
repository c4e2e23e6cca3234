//! What adapters of a platform may offer, so that kernels can be examined without such an adapter.

use super::{Capabilities, Form};

/// A way to reach adapters, with its own shader language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// WebGPU: the browser compiles WGSL itself.
    Browser,
    /// Apple: MSL.
    Metal,
    /// Windows: HLSL.
    Dx12,
    /// SPIR-V.
    Vulkan,
}

/// The subgroup sizes in use: software drivers 4 or 8, Intel 8 to 32, NVIDIA and Apple 32, AMD 32 or 64.
const SUBGROUPS: &[u32] = &[4, 8, 16, 32, 64];

impl Platform {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Browser, Self::Metal, Self::Dx12, Self::Vulkan];

    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Metal => "metal",
            Self::Dx12 => "dx12",
            Self::Vulkan => "vulkan",
        }
    }

    /// The platform through which wgpu reaches an adapter.
    pub fn of(backend: wgpu::Backend) -> Self {
        match backend {
            wgpu::Backend::Metal => Self::Metal,
            wgpu::Backend::Dx12 => Self::Dx12,
            wgpu::Backend::BrowserWebGpu => Self::Browser,
            _ => Self::Vulkan,
        }
    }

    /// The form of kernel text on this platform.
    pub fn form(self) -> Form {
        if self == Self::Browser { Form::BROWSER } else { Form::native(true) }
    }

    /// Sides of the square matrices that a subgroup multiplies as a whole, where wgpu supports that, and the least and most
    /// lanes of such subgroups: 8 on software drivers, 32 on NVIDIA and Apple, 32 or 64 on AMD.
    fn matrices(self) -> &'static [(u32, (u32, u32))] {
        match self {
            Self::Browser | Self::Dx12 => &[],
            Self::Metal => &[(8, (32, 32))],
            Self::Vulkan => &[(8, (8, 8)), (16, (32, 32)), (16, (32, 64))],
        }
    }

    /// One adapter for every difference that matters to the choice of variants. Each exceeds the baseline and has room
    /// for all variants, so whatever a lesser adapter can choose is among what these can.
    pub fn adapters(self) -> Vec<Capabilities> {
        let most = Capabilities {
            f16: true,
            immediates: self.form().immediates,
            workgroup_memory: 64 << 10,
            invocations: 1024,
            ..Capabilities::baseline()
        };
        let subgroups = |lanes: u32| Capabilities { subgroups: Some((lanes, lanes)), ..most.clone() };
        // Drivers in software choose among kernels that would need too many registers elsewhere.
        let software = [4, 8].map(|lanes| Capabilities { processor: true, ..subgroups(lanes) });
        let matrices = self.matrices().iter().map(|(side, lanes)| Capabilities {
            cooperative: Some(*side),
            subgroups: Some(*lanes),
            ..most.clone()
        });
        let sizes = SUBGROUPS.iter().map(|lanes| subgroups(*lanes));
        std::iter::once(most.clone()).chain(sizes).chain(software).chain(matrices).collect()
    }
}
