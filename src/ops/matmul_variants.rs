//! The matmul kernels that a tuner may choose from.

use super::matmul::Shape;
use crate::{
    gpu::{Capabilities, Constant, Kernel, Variant},
    kernels,
};

kernels! {
    /// Barrier-free register block.
    MATMUL_REGISTERS = "matmul_registers";
    /// Register block that shares loads by subgroup broadcasts.
    MATMUL_SUBGROUP = "matmul_subgroup";
    /// The same by four elements.
    MATMUL_BROADCAST = "matmul_broadcast";
}

/// One variant: a kernel, its constants, and where it may be used.
#[derive(Debug)]
pub struct Spec {
    /// The name under which the tuner remembers it.
    pub name: &'static str,
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Constants of this variant.
    pub constants: &'static [(&'static str, u32)],
    /// Rows of the result per workgroup.
    pub tile_m: usize,
    /// Columns of the result per workgroup.
    pub tile_n: usize,
    /// Loads and stores by four: contiguous dimensions, k and n must be multiples of four.
    pub vec4: bool,
    /// The number of lanes that every subgroup must have, 0 for any.
    pub lanes: u32,
}

const fn scalar(
    name: &'static str,
    kernel: &'static Kernel,
    constants: &'static [(&'static str, u32)],
    tile: (usize, usize),
    lanes: u32,
) -> Spec {
    Spec { name, kernel, constants, tile_m: tile.0, tile_n: tile.1, vec4: false, lanes }
}

/// Every variant, the boldest first, the plainest last.
pub static VARIANTS: &[Spec] = &[
    Spec { vec4: true, ..scalar("broadcast 32x4", &MATMUL_BROADCAST, &[("N", 4)], (32, 32), 8) },
    Spec { vec4: true, ..scalar("broadcast 32x8", &MATMUL_BROADCAST, &[("N", 8)], (32, 64), 8) },
    scalar("subgroup 16x8", &MATMUL_SUBGROUP, &[("M", 16), ("N", 8)], (16, 64), 8),
    scalar("registers 8x8", &MATMUL_REGISTERS, &[], (8, 64), 0),
];

impl Spec {
    /// Whether the variant may compute `shape` on an adapter with these capabilities.
    pub fn fits(&self, capabilities: &Capabilities, shape: &Shape) -> bool {
        let fours = shape.k % 4 == 0 && shape.n % 4 == 0 && (!shape.trans_a || shape.m % 4 == 0);
        (!self.vec4 || fours) && (self.lanes == 0 || capabilities.subgroups_of(self.lanes))
    }

    /// The kernel with this variant's constants.
    pub fn variant(&self) -> Variant {
        let variant =
            self.constants.iter().fold(self.kernel.plain(), |variant, &(name, value)| variant.set(name, value));
        if self.vec4 { variant.set("element", Constant::Type("vec4<f32>")) } else { variant }
    }

    /// Workgroups in x (columns), y (rows) and z (batch).
    pub fn grid(&self, shape: &Shape) -> [u32; 3] {
        [shape.n.div_ceil(self.tile_n) as u32, shape.m.div_ceil(self.tile_m) as u32, shape.batch as u32]
    }
}
