//! The GPUs of the laboratory, and their published rates.

use crate::machine_code::Architecture;

/// A GPU.
///
/// Rates are per unit: a compute unit (AMD), streaming multiprocessor (NVIDIA), Xe core (Intel), shader processor
/// (Qualcomm) or core (Apple).
#[derive(Debug)]
pub(crate) struct Gpu {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// A product with it.
    pub(crate) product: &'static str,
    /// Its instruction set.
    pub(crate) architecture: Architecture,
    /// Units.
    pub(crate) units: f64,
    /// Clock in GHz.
    pub(crate) gigahertz: f64,
    /// f32 multiply-adds per clock and unit, one per lane and turn.
    pub(crate) multiply_adds: f64,
    /// Turns that a scheduler has while a multiply-add of a whole subgroup takes its unit: 2 where that unit is only half
    /// as wide as what is issued, so that other instructions fit between.
    pub(crate) turns: f64,
    /// Bytes per clock and unit from workgroup memory to registers; infinite where it is not published.
    pub(crate) workgroup_bytes: f64,
    /// Exponentials and the like per clock and unit.
    pub(crate) special: f64,
    /// Global memory in GB/s.
    pub(crate) bandwidth: f64,
    /// Clocks until a load from global memory arrives, about.
    pub(crate) latency: f64,
    /// Schedulers.
    pub(crate) simds: f64,
    /// The most subgroups per scheduler.
    pub(crate) waves: f64,
    /// Bytes of workgroup memory per unit.
    pub(crate) workgroup_memory: f64,
    /// Whether the rates are published by the maker; otherwise some are measured by others, or missing.
    pub(crate) published: bool,
}

/// All of them.
pub(crate) const GPUS: &[Gpu] = &[
    Gpu {
        name: "navi21",
        product: "AMD Radeon RX 6800 XT (RDNA2)",
        architecture: Architecture::Rdna,
        units: 72.0,
        gigahertz: 2.25,
        multiply_adds: 64.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 16.0,
        bandwidth: 512.0,
        latency: 500.0,
        simds: 2.0,
        waves: 16.0,
        workgroup_memory: 65536.0,
        published: true,
    },
    Gpu {
        name: "navi31",
        product: "AMD Radeon RX 7900 XTX (RDNA3)",
        architecture: Architecture::Rdna,
        units: 96.0,
        gigahertz: 2.5,
        // Without dual issue, which doubles them where the compiler finds pairs.
        multiply_adds: 64.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 16.0,
        bandwidth: 960.0,
        latency: 500.0,
        simds: 2.0,
        waves: 16.0,
        workgroup_memory: 65536.0,
        published: true,
    },
    Gpu {
        name: "gfx1201",
        product: "AMD Radeon RX 9070 XT (RDNA4)",
        architecture: Architecture::Rdna,
        units: 64.0,
        gigahertz: 2.97,
        multiply_adds: 64.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 16.0,
        bandwidth: 640.0,
        latency: 500.0,
        simds: 2.0,
        waves: 16.0,
        workgroup_memory: 65536.0,
        published: true,
    },
    Gpu {
        name: "turing",
        product: "NVIDIA GeForce RTX 2080 Ti (Turing)",
        architecture: Architecture::Nvidia,
        units: 68.0,
        gigahertz: 1.545,
        multiply_adds: 64.0,
        turns: 2.0,
        workgroup_bytes: 64.0,
        special: 16.0,
        bandwidth: 616.0,
        latency: 450.0,
        simds: 4.0,
        waves: 8.0,
        workgroup_memory: 65536.0,
        published: true,
    },
    Gpu {
        name: "ampere",
        product: "NVIDIA GeForce RTX 3090 (Ampere)",
        architecture: Architecture::Nvidia,
        units: 82.0,
        gigahertz: 1.695,
        multiply_adds: 128.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 16.0,
        bandwidth: 936.0,
        latency: 450.0,
        simds: 4.0,
        waves: 12.0,
        workgroup_memory: 102400.0,
        published: true,
    },
    Gpu {
        name: "ada",
        product: "NVIDIA GeForce RTX 4090 (Ada)",
        architecture: Architecture::Nvidia,
        units: 128.0,
        gigahertz: 2.52,
        multiply_adds: 128.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 16.0,
        bandwidth: 1008.0,
        latency: 500.0,
        simds: 4.0,
        waves: 12.0,
        workgroup_memory: 102400.0,
        published: true,
    },
    Gpu {
        name: "blackwell",
        product: "NVIDIA GeForce RTX 5090 (Blackwell)",
        architecture: Architecture::Nvidia,
        units: 170.0,
        gigahertz: 2.41,
        multiply_adds: 128.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 16.0,
        bandwidth: 1792.0,
        latency: 550.0,
        simds: 4.0,
        waves: 12.0,
        workgroup_memory: 102400.0,
        published: true,
    },
    Gpu {
        name: "dg2",
        product: "Intel Arc A770 (Alchemist)",
        architecture: Architecture::Intel,
        units: 32.0,
        gigahertz: 2.1,
        multiply_adds: 128.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 32.0,
        bandwidth: 560.0,
        latency: 600.0,
        simds: 16.0,
        waves: 8.0,
        workgroup_memory: 131072.0,
        published: true,
    },
    Gpu {
        name: "bmg",
        product: "Intel Arc B580 (Battlemage)",
        architecture: Architecture::Intel,
        units: 20.0,
        gigahertz: 2.67,
        multiply_adds: 128.0,
        turns: 1.0,
        workgroup_bytes: 128.0,
        special: 32.0,
        bandwidth: 456.0,
        latency: 600.0,
        simds: 8.0,
        waves: 8.0,
        workgroup_memory: 131072.0,
        published: true,
    },
    Gpu {
        name: "adreno740",
        product: "Qualcomm Adreno 740",
        architecture: Architecture::Adreno,
        units: 6.0,
        gigahertz: 0.68,
        multiply_adds: 256.0,
        turns: 1.0,
        workgroup_bytes: f64::INFINITY,
        special: 32.0,
        bandwidth: 67.0,
        latency: 600.0,
        simds: 2.0,
        waves: 16.0,
        workgroup_memory: 32768.0,
        published: false,
    },
    Gpu {
        name: "m1",
        product: "Apple M1",
        architecture: Architecture::Apple,
        units: 8.0,
        gigahertz: 1.278,
        multiply_adds: 128.0,
        turns: 1.0,
        workgroup_bytes: f64::INFINITY,
        special: 32.0,
        bandwidth: 68.0,
        latency: 400.0,
        simds: 4.0,
        waves: 24.0,
        workgroup_memory: 65536.0,
        published: false,
    },
];

/// The GPU of this name.
pub(crate) fn of(name: &str) -> Option<&'static Gpu> {
    GPUS.iter().find(|gpu| gpu.name == name)
}
