//! The matmul kernels that the tuner may choose from.
//!
//! | kernel | tile per workgroup | needs | sums |
//! |---|---|---|---|
//! | `matmul_broadcast` | 32 x 8N | subgroups of exactly 8; k, n and (A transposed) m multiples of 4 | ascending k |
//! | `matmul_subgroup` | M x 8N | subgroups of exactly 8; sizes that `matmul_broadcast` does not fit | ascending k |
//! | `matmul_buffered` | TILE_M x TILE_N | 4 TILE_K (TILE_M + TILE_N) bytes of workgroup memory; k, n and (A transposed) m multiples of 4; many registers unless rolled | ascending k |
//! | `matmul_cooperative` | 2 DOWN SIZE x 4 ACROSS SIZE | B in f16, matrices of SIZE, DOWN ACROSS of the largest subgroups in a workgroup; k, n and (A transposed) m multiples of 4 | ascending k, by blocks; A rounded to f16 |
//! | `matmul_tiled` | TILE_M x TILE_N | at most 8.3 KiB of workgroup memory, 256 invocations | ascending k |
//! | `matmul_registers` | M x LANES N | nothing | ascending k |
//! | `matmul_vector` | M x N, all of m | B transposed, A not; m at most M; k a multiple of 4; subgroups of at most LANES | by lanes, then over them |
//!
//! Kernels with ascending k add in the same order. They agreed bit for bit on the software adapter, without a guarantee.
//!
//! "split S" in a name means that k is cut into S ranges, each summed by its own workgroups, and `matmul_join` adds
//! the S results in order. This is for long k and few tiles, as in gradients of weights, where tiles alone would
//! leave most of a GPU idle.

use super::Shape;
use crate::{
    gpu::{Capabilities, Constant, Kernel, Variant},
    kernels,
    tensor::DType,
};

kernels! {
    /// Barrier-free register block.
    MATMUL_REGISTERS = "matmul_registers";
    /// Register block that shares loads through subgroup broadcasts.
    MATMUL_SUBGROUP = "matmul_subgroup";
    /// The same, four elements at a time.
    MATMUL_BROADCAST = "matmul_broadcast";
    /// Tiles in workgroup memory, four elements at a time; the next tile is loaded meanwhile.
    MATMUL_BUFFERED = "matmul_buffered";
    /// Blocks computed by a subgroup's matrix unit.
    MATMUL_COOPERATIVE = "matmul_cooperative";
    /// Tiles in workgroup memory.
    MATMUL_TILED = "matmul_tiled";
    /// For few rows.
    MATMUL_VECTOR = "matmul_vector";
    /// Adds the results of the ranges of a split k.
    MATMUL_JOIN = "matmul_join";
}

/// What a kernel loads and stores four elements at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectorization {
    /// Nothing: any size works.
    None,
    /// Nothing; only used where variants of the same kind that load four at a time do not fit, because it is slower.
    Odd,
    /// A and B along k, for up to this many rows: k must be a multiple of four, A is [m, k] and B is [n, k].
    Rows(usize),
    /// Everything, along the contiguous dimensions: k, n and (A transposed) m must be multiples of four.
    All,
}

/// How the operands and results of a product are stored; sums, bias and residual are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// A.
    pub a: DType,
    /// B.
    pub b: DType,
    /// The result.
    pub out: DType,
    /// The value before GELU.
    pub before: DType,
}

impl Types {
    /// Everything in f32.
    pub const SINGLE: Self = Self { a: DType::F32, b: DType::F32, out: DType::F32, before: DType::F32 };
}

/// One variant: a kernel, its constants, and where it may be used.
#[derive(Debug)]
pub struct MatmulVariant {
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
    /// What is loaded and stored four elements at a time.
    pub vectorization: Vectorization,
    /// The number of lanes that every subgroup must have; 0 for any.
    pub lanes: u32,
    /// The number of ranges that k is cut into.
    pub split: usize,
    /// Bytes of workgroup memory.
    pub memory: u32,
    /// Side of the square matrices that a subgroup multiplies as a whole; 0 for none.
    pub cooperative: u32,
    /// Whether it needs [`Capabilities::many_registers`].
    pub many_registers: bool,
}

const fn scalar(
    name: &'static str,
    kernel: &'static Kernel,
    constants: &'static [(&'static str, u32)],
    tile: (usize, usize),
    lanes: u32,
) -> MatmulVariant {
    MatmulVariant {
        name,
        kernel,
        constants,
        tile_m: tile.0,
        tile_n: tile.1,
        vectorization: Vectorization::None,
        lanes,
        split: 1,
        memory: 0,
        cooperative: 0,
        many_registers: false,
    }
}

const fn vector(name: &'static str, constants: &'static [(&'static str, u32)], rows: usize) -> MatmulVariant {
    MatmulVariant { vectorization: Vectorization::Rows(rows), ..scalar(name, &MATMUL_VECTOR, constants, (rows, 8), 0) }
}

const fn buffered(name: &'static str, tile: &'static [(&'static str, u32); 4], split: usize) -> MatmulVariant {
    let [(_, m), (_, n), (_, k), (_, unroll)] = *tile;
    let spec = scalar(name, &MATMUL_BUFFERED, tile, (m as usize, n as usize), 0);
    let many_registers = unroll > 1;
    MatmulVariant { vectorization: Vectorization::All, split, memory: 4 * k * (m + n), many_registers, ..spec }
}

/// The k of a tile of `matmul_cooperative`.
const MATRIX_DEPTH: u32 = 32;

const fn cooperative(name: &'static str, constants: &'static [(&'static str, u32); 3], split: usize) -> MatmulVariant {
    let [(_, size), (_, down), (_, across)] = *constants;
    let (m, n) = (2 * down * size, 4 * across * size);
    // Tiles in f16 plus padding for eight more k, and a block of f32 for each subgroup.
    let memory = 2 * (MATRIX_DEPTH + 8) * (m + n) + 4 * down * across * size * size;
    let spec = scalar(name, &MATMUL_COOPERATIVE, constants, (m as usize, n as usize), 0);
    MatmulVariant { vectorization: Vectorization::All, split, memory, cooperative: size, ..spec }
}

// An invocation keeps 64 sums, 16 operands and the 16 elements that it fetched of the next tile, about 116 registers; twice
// as many elements spill on Apple's compiler. Unrolled, the loop wastes less on counting, but compilers load operands early:
// Intel's, with 128 registers per lane, spills at 2 already.
const LARGE: &[(&str, u32); 4] = &[("TILE_M", 128), ("TILE_N", 128), ("TILE_K", 16), ("UNROLL", 4)];
const LARGE_ROLLED: &[(&str, u32); 4] = &[("TILE_M", 128), ("TILE_N", 128), ("TILE_K", 16), ("UNROLL", 1)];
const SMALL: &[(&str, u32); 4] = &[("TILE_M", 64), ("TILE_N", 64), ("TILE_K", 8), ("UNROLL", 4)];
const SMALL_ROLLED: &[(&str, u32); 4] = &[("TILE_M", 64), ("TILE_N", 64), ("TILE_K", 8), ("UNROLL", 1)];

// 64 sums as well, so only where a lane has many registers: Intel's compiler spills 190 values.
const WIDE: &[(&str, u32)] = &[("TILE_M", 128), ("TILE_N", 128), ("TILE_K", 8), ("M", 8), ("N", 8)];

/// Every variant, the plainest last. Until the tuner knows better, the first that fits is used: on GPUs the
/// largest tiles that are loaded as vectors.
pub static VARIANTS: &[MatmulVariant] = &[
    MatmulVariant {
        vectorization: Vectorization::All,
        ..scalar("broadcast 32x8", &MATMUL_BROADCAST, &[("N", 8)], (32, 64), 8)
    },
    MatmulVariant {
        vectorization: Vectorization::All,
        ..scalar("broadcast 32x4", &MATMUL_BROADCAST, &[("N", 4)], (32, 32), 8)
    },
    MatmulVariant {
        vectorization: Vectorization::All,
        split: 4,
        ..scalar("broadcast 32x8 split 4", &MATMUL_BROADCAST, &[("N", 8)], (32, 64), 8)
    },
    MatmulVariant {
        vectorization: Vectorization::Odd,
        ..scalar("subgroup 16x8", &MATMUL_SUBGROUP, &[("M", 16), ("N", 8)], (16, 64), 8)
    },
    MatmulVariant {
        vectorization: Vectorization::Odd,
        ..scalar("subgroup 32x4", &MATMUL_SUBGROUP, &[("M", 32), ("N", 4)], (32, 32), 8)
    },
    vector("vector 1, 8 lanes", &[("M", 1), ("LANES", 8)], 1),
    vector("vector 1, 32 lanes", &[("M", 1), ("LANES", 32)], 1),
    vector("vector 4, 8 lanes", &[("M", 4), ("LANES", 8)], 4),
    vector("vector 4, 32 lanes", &[("M", 4), ("LANES", 32)], 4),
    vector("vector 8, 8 lanes", &[("M", 8), ("LANES", 8)], 8),
    vector("vector 8, 32 lanes", &[("M", 8), ("LANES", 32)], 8),
    buffered("buffered 128x128x16", LARGE, 1),
    buffered("buffered 128x128x16, rolled", LARGE_ROLLED, 1),
    buffered("buffered 128x128x16 split 8", LARGE, 8),
    buffered("buffered 128x128x16 split 8, rolled", LARGE_ROLLED, 8),
    buffered("buffered 64x64x8", SMALL, 1),
    buffered("buffered 64x64x8, rolled", SMALL_ROLLED, 1),
    buffered("buffered 64x64x8 split 4", SMALL, 4),
    buffered("buffered 64x64x8 split 4, rolled", SMALL_ROLLED, 4),
    MatmulVariant { many_registers: true, ..scalar("tiled 128x128x8", &MATMUL_TILED, WIDE, (128, 128), 0) },
    cooperative("cooperative 16, 128x128", &[("SIZE", 16), ("DOWN", 4), ("ACROSS", 2)], 1),
    cooperative("cooperative 16, 64x128", &[("SIZE", 16), ("DOWN", 2), ("ACROSS", 2)], 1),
    cooperative("cooperative 16, 64x128 split 4", &[("SIZE", 16), ("DOWN", 2), ("ACROSS", 2)], 4),
    cooperative("cooperative 8, 64x64", &[("SIZE", 8), ("DOWN", 4), ("ACROSS", 2)], 1),
    cooperative("cooperative 8, 32x64", &[("SIZE", 8), ("DOWN", 2), ("ACROSS", 2)], 1),
    MatmulVariant { vectorization: Vectorization::Odd, ..scalar("tiled 64x64x16", &MATMUL_TILED, &[], (64, 64), 0) },
    scalar("registers 8x8", &MATMUL_REGISTERS, &[], (8, 64), 0),
];

/// The most tiles of a product that is worth splitting, and the minimum k of each of its ranges: with more tiles a GPU
/// is busy anyway, and with less k writing and adding the results takes longer than their products.
const FEW_TILES: u32 = 256;
const LONG: usize = 128;

impl MatmulVariant {
    /// Whether the variant may compute `shape` on an adapter with these capabilities.
    pub fn fits(&self, capabilities: &Capabilities, shape: &Shape) -> bool {
        let all = shape.k % 4 == 0 && shape.n % 4 == 0 && (!shape.trans_a || shape.m % 4 == 0);
        let vectorization = match self.vectorization {
            Vectorization::None => true,
            Vectorization::Rows(most) => shape.k % 4 == 0 && shape.m <= most && shape.trans_b && !shape.trans_a,
            Vectorization::All => all,
            Vectorization::Odd => !all,
        };
        let lanes = match self.vectorization {
            Vectorization::Rows(_) => capabilities.fills_subgroups(self.lanes_per_workgroup()),
            _ => self.lanes == 0 || capabilities.subgroups_of(self.lanes),
        };
        let matrices = self.cooperative == 0 || (shape.half && self.shared_out(capabilities));
        let allowed = capabilities.allows(self.name) && capabilities.allows(self.kernel.name);
        let memory =
            self.memory <= capabilities.workgroup_memory && (!self.many_registers || capabilities.many_registers());
        allowed && vectorization && lanes && matrices && memory && self.splits(capabilities, shape)
    }

    /// Whether there are matrices of this variant's side, and as many subgroups as share out a tile make a workgroup that the
    /// adapter allows and whose lanes all have vectors of each tile to load, whole rows of it at a time.
    fn shared_out(&self, capabilities: &Capabilities) -> bool {
        let Some((_, lanes)) = capabilities.subgroups else { return false };
        // Each computes 2 by 4 blocks.
        let subgroups = (self.tile_m * self.tile_n) as u32 / (8 * self.cooperative * self.cooperative);
        let vectors = (self.tile_m.min(self.tile_n) as u32) * MATRIX_DEPTH / 4;
        let invocations = lanes * subgroups;
        let whole_rows = 4 * invocations % self.tile_m.max(self.tile_n) as u32 == 0;
        let allowed = invocations <= capabilities.invocations && vectors % invocations == 0 && whole_rows;
        allowed && capabilities.cooperative == Some(self.cooperative)
    }

    /// Whether `shape` is worth cutting k into this variant's number of ranges; always true for one range.
    fn splits(&self, capabilities: &Capabilities, shape: &Shape) -> bool {
        let [x, y, _] = self.grid(shape);
        let bytes = 4 * (self.split * shape.batch * shape.m * shape.n) as u64;
        let few = x * y * shape.batch as u32 <= FEW_TILES && bytes <= capabilities.binding;
        self.split == 1 || (few && shape.k >= LONG * self.split)
    }

    /// Invocations per workgroup, as far as they may be fewer than 32: 8 lanes unless a variant says otherwise.
    pub fn lanes_per_workgroup(&self) -> u32 {
        let lanes = self.constants.iter().find(|(name, _)| *name == "LANES").map(|(_, lanes)| *lanes);
        match self.kernel.name == MATMUL_REGISTERS.name {
            true => lanes.unwrap_or(8),
            false => lanes.unwrap_or(32),
        }
    }

    /// The length of each range of k, and the number of ranges; ranges begin where loads and tiles begin.
    pub fn ranges(&self, k: usize) -> (usize, usize) {
        let length = if self.split == 1 { k } else { k.div_ceil(self.split).next_multiple_of(16) };
        (length, k.div_ceil(length.max(1)).max(1))
    }

    /// The kernel with this variant's constants for operands of these types, on an adapter with these capabilities.
    pub fn variant(&self, types: Types, capabilities: &Capabilities) -> Variant {
        let variant =
            self.constants.iter().fold(self.kernel.plain(), |variant, &(name, value)| variant.set(name, value));
        let operand = if matches!(self.vectorization, Vectorization::Rows(_) | Vectorization::All) {
            DType::vec4
        } else {
            DType::scalar
        };
        let result = if self.vectorization == Vectorization::All { DType::vec4 } else { DType::scalar };
        let matrices = match self.cooperative {
            0 => None,
            8 => Some(["coop_mat8x8<f16, A>", "coop_mat8x8<f16, B>", "coop_mat8x8<f32, C>"]),
            _ => Some(["coop_mat16x16<f16, A>", "coop_mat16x16<f16, B>", "coop_mat16x16<f32, C>"]),
        };
        let variant = match (matrices, capabilities.subgroups) {
            (Some([left, right, sum]), Some((least, most))) => variant
                .set("Left", Constant::Type(left))
                .set("Right", Constant::Type(right))
                .set("Sum", Constant::Type(sum))
                .set("LANES", most)
                .set("FEWER", least < most),
            _ => variant,
        };
        variant
            .set("a_element", operand(types.a))
            .set("b_element", operand(types.b))
            .set("result", result(DType::F32))
            .set("out_element", result(types.out))
            .set("before_element", result(types.before))
    }

    /// `matmul_join` for results of this variant's kernel, and how many elements an invocation adds.
    pub fn join(&self, types: Types) -> (Variant, usize) {
        let (element, file, width): (fn(DType) -> Constant, _, _) = match self.vectorization {
            Vectorization::All => (DType::vec4, "lib/matmul_vec4.wgsl", 4),
            _ => (DType::scalar, "lib/matmul_store.wgsl", 1),
        };
        let variant = MATMUL_JOIN.set("store", Constant::File(file)).set("WIDTH", width as u32);
        let variant = variant.set("a_element", element(DType::F32)).set("result", element(DType::F32));
        (variant.set("out_element", element(types.out)).set("before_element", element(types.before)), width)
    }

    /// Workgroups in x (columns), y (rows) and z (batch, for each range of k).
    pub fn grid(&self, shape: &Shape) -> [u32; 3] {
        let z = shape.batch * self.ranges(shape.k).1;
        [shape.n.div_ceil(self.tile_n) as u32, shape.m.div_ceil(self.tile_m) as u32, z as u32]
    }
}
