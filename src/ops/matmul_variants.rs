//! The matmul kernels that a tuner may choose from.

use super::matmul::Shape;
use crate::{
    gpu::{Capabilities, Kernel, Variant},
    kernels,
};

kernels! {
    /// Barrier-free register block.
    MATMUL_REGISTERS = "matmul_registers";
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
}

/// Every variant, the safest default last.
pub static VARIANTS: &[Spec] =
    &[Spec { name: "registers", kernel: &MATMUL_REGISTERS, constants: &[], tile_m: 8, tile_n: 64 }];

impl Spec {
    /// Whether the variant may compute `shape` on an adapter with these capabilities.
    pub fn fits(&self, _capabilities: &Capabilities, _shape: &Shape) -> bool {
        true
    }

    /// The kernel with this variant's constants.
    pub fn variant(&self) -> Variant {
        self.constants.iter().fold(self.kernel.plain(), |variant, &(name, value)| variant.set(name, value))
    }

    /// Workgroups in x (columns), y (rows) and z (batch).
    pub fn grid(&self, shape: &Shape) -> [u32; 3] {
        [shape.n.div_ceil(self.tile_n) as u32, shape.m.div_ceil(self.tile_m) as u32, shape.batch as u32]
    }
}
