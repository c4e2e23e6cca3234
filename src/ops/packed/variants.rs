//! The kernels for few rows times packed weights that the tuner may choose from.
//!
//! | kernel | tile per workgroup | needs |
//! |---|---|---|
//! | `packed_columns` | M x 8N | subgroups of exactly 8 |
//! | `packed_lanes` | M x N | subgroups of at most LANES, so that none of them idles |

use super::layout::Layout;
use crate::{
    gpu::{Capabilities, Constant, Kernel, Variant},
    kernels,
};

kernels! {
    /// A column per lane; x comes from broadcasts.
    PACKED_COLUMNS = "packed_columns";
    /// Lanes share each row of the weights.
    PACKED_LANES = "packed_lanes";
}

/// One variant: a kernel and its tile.
#[derive(Debug)]
pub struct PackedVariant {
    /// The name under which the tuner remembers it.
    pub name: &'static str,
    /// The kernel.
    pub kernel: &'static Kernel,
    constants: &'static [(&'static str, u32)],
    /// Rows of the result per workgroup.
    pub rows: usize,
    /// Columns of the result per workgroup, counting gates and their partners separately.
    pub columns: usize,
    lanes: u32,
}

const fn columns(
    name: &'static str,
    constants: &'static [(&'static str, u32)],
    rows: usize,
    columns: usize,
) -> PackedVariant {
    PackedVariant { name, kernel: &PACKED_COLUMNS, constants, rows, columns, lanes: 8 }
}

const fn lanes(
    name: &'static str,
    constants: &'static [(&'static str, u32)],
    rows: usize,
    columns: usize,
) -> PackedVariant {
    PackedVariant { name, kernel: &PACKED_LANES, constants, rows, columns, lanes: 0 }
}

/// Every variant; among those with the same number of rows, the first that fits is the default. The last always fits.
pub static VARIANTS: &[PackedVariant] = &[
    columns("columns 1x2", &[("M", 1), ("N", 2)], 1, 16),
    columns("columns 2x2", &[("M", 2), ("N", 2)], 2, 16),
    columns("columns 4x2", &[("M", 4), ("N", 2)], 4, 16),
    columns("columns 8x4", &[("M", 8), ("N", 4)], 8, 32),
    lanes("lanes 1x4, 32", &[("M", 1), ("N", 4), ("LANES", 32)], 1, 4),
    lanes("lanes 1x4, 8", &[("M", 1), ("N", 4), ("LANES", 8)], 1, 4),
    lanes("lanes 1x2, 64", &[("M", 1), ("N", 2), ("LANES", 64)], 1, 2),
    // Eight rows spill on Apple's and Qualcomm's compilers.
    lanes("lanes 6x2, 32", &[("M", 6), ("N", 2), ("LANES", 32)], 6, 2),
    lanes("lanes 4x2, 32", &[("M", 4), ("N", 2), ("LANES", 32)], 4, 2),
];

impl PackedVariant {
    /// Whether the variant may run on an adapter with these capabilities.
    pub fn fits(&self, capabilities: &Capabilities) -> bool {
        let allowed = capabilities.allows(self.name) && capabilities.allows(self.kernel.name);
        let lanes = match self.lanes {
            // The sums of more than four rows spill a few values where registers are few (Intel's).
            0 => {
                let registers = self.rows <= 4 || capabilities.many_registers();
                registers && capabilities.fills_subgroups(self.constant("LANES"))
            }
            lanes => capabilities.subgroups_of(lanes),
        };
        allowed && lanes
    }

    fn constant(&self, name: &str) -> u32 {
        self.constants.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value)
    }

    /// The kernel with this variant's constants, for weights in `layout`.
    pub fn variant(&self, layout: Layout) -> Variant {
        let start = self.kernel.set("format", Constant::File(layout.names().1));
        self.constants.iter().fold(start, |variant, &(name, value)| variant.set(name, value))
    }
}
