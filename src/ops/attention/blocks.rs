//! How the block kernels divide their work among lanes, and what that takes of workgroup memory.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

/// What a block kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The output, from rows of queries.
    Forward,
    /// The gradient of the queries, from rows of queries.
    BackwardQ,
    /// The gradients of keys and values, from rows of keys.
    BackwardKv,
}

/// A block of rows and columns for one pass; the constants of the kernels have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Rows per workgroup.
    pub rows: u32,
    /// Rows of the other side that are visited at a time.
    pub columns: u32,
    /// Vectors of a head per step of the scores.
    pub depth: u32,
    /// Columns per step of the results.
    pub slice: u32,
    /// Bytes of workgroup memory.
    pub memory: u32,
}

/// What a workgroup has for its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Invocations.
    pub lanes: u32,
    /// The number of f32 that a lane may keep in registers: scores and results of its four rows, not the operands.
    pub kept: u32,
    /// Bytes of workgroup memory.
    pub memory: u32,
}

/// What a lane with few registers keeps: with 64 f32, Intel's compiler spills up to 343 values (Mesa 26.2.6).
pub const FEW: u32 = 48;
/// What the lanes of RDNA2 to 4, NVIDIA's Turing to Blackwell, Adreno 740 and Apple's M1 keep without spilling. With 96 f32
/// M1 spills, which has 127 registers.
pub const MANY: u32 = 80;
/// What lanes with still more registers keep: those of RDNA and NVIDIA.
pub const MOST: u32 = 96;

/// Vectors of a head that are staged at once, at most.
const DEPTH: u32 = 8;
/// Rows per workgroup, at most.
const ROWS: u32 = 128;
/// Tokens of a usual context. Of the blocks of scores on the diagonal, half is computed in vain, so larger blocks cost more.
const CONTEXT: u32 = 1024;

impl Block {
    /// The block, among those within the budget, that moves the fewest bytes between workgroup memory and registers for each
    /// product of a score or a result, for heads of `vectors` vectors of four. `None` if not even the smallest fits.
    pub fn new(pass: Pass, budget: Budget, vectors: u32) -> Option<Self> {
        type Found = HashMap<(Pass, Budget, u32), Option<Block>>;
        /// Every layer of every step asks for the same few.
        static FOUND: LazyLock<Mutex<Found>> = LazyLock::new(Mutex::default);
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        *found.entry((pass, budget, vectors)).or_insert_with(|| Self::search(pass, budget, vectors))
    }

    fn search(pass: Pass, budget: Budget, vectors: u32) -> Option<Self> {
        let groups = (0..).map(|power| 2 << power).take_while(|groups| *groups <= budget.lanes);
        let shapes =
            groups.flat_map(|groups| [4, 8].map(|scores| Shape { pass, lanes: budget.lanes, groups, scores, vectors }));
        let shapes = shapes.filter(|shape| shape.rows() <= ROWS && shape.kept() <= budget.kept);
        let blocks = shapes.flat_map(|shape| {
            // No deeper than as many steps require.
            let depths = (1..=DEPTH).filter(move |depth| vectors.div_ceil(vectors.div_ceil(*depth)) == *depth);
            depths.filter_map(move |depth| Some((shape, shape.block(depth, budget.memory)?)))
        });
        blocks.min_by(|left, right| left.0.cost(&left.1).total_cmp(&right.0.cost(&right.1))).map(|(_, block)| block)
    }
}

/// How lanes are arranged.
#[derive(Clone, Copy)]
struct Shape {
    pass: Pass,
    lanes: u32,
    /// Lanes that share rows.
    groups: u32,
    /// Scores per lane and row.
    scores: u32,
    /// Vectors of a head.
    vectors: u32,
}

impl Shape {
    fn rows(self) -> u32 {
        4 * self.lanes / self.groups
    }

    fn columns(self) -> u32 {
        self.scores * self.groups
    }

    /// Vectors of each result per lane and row.
    fn wide(self) -> u32 {
        self.vectors.div_ceil(self.groups)
    }

    /// How many products of scores and of results there are: for the gradient of the queries, weights and their rises are
    /// scores; for those of keys and values too, and both are results.
    fn products(self) -> (u32, u32) {
        match self.pass {
            Pass::Forward => (1, 1),
            Pass::BackwardQ => (2, 1),
            Pass::BackwardKv => (2, 2),
        }
    }

    fn kept(self) -> u32 {
        16 * self.products().1 * self.wide() + 4 * self.scores
    }

    /// The block in steps of `depth` vectors and the largest slices with which it takes no more than `most` bytes.
    fn block(self, depth: u32, most: u32) -> Option<Block> {
        let slices = (2..).map(|power| 1 << power).take_while(|slice| *slice <= self.columns());
        let blocks = slices.map(|slice| {
            let block = Block { rows: self.rows(), columns: self.columns(), depth, slice, memory: 0 };
            Block { memory: self.bytes(&block), ..block }
        });
        blocks.take_while(|block| block.memory <= most).last()
    }

    /// The bytes of workgroup memory as `lib/attention_block.wgsl` and the kernels declare it.
    fn bytes(self, block: &Block) -> u32 {
        let weights = block.columns * (block.rows / 4 + 1);
        let lines = block.depth * (block.rows + block.columns);
        let slice = block.slice * self.groups * self.wide();
        16 * match self.pass {
            Pass::Forward => lines.max(weights + slice) + self.lanes,
            Pass::BackwardQ | Pass::BackwardKv => weights + lines.max(slice),
        }
    }

    /// The bytes that are moved for each multiplication and addition that is needed. What is staged counts twice, as it comes
    /// from global memory, and a barrier as much as four vectors.
    fn cost(self, block: &Block) -> f64 {
        let (scores, results) = self.products();
        let (lanes, rows, columns, width) = (self.lanes, block.rows, block.columns, 4 * self.vectors);
        let operands =
            scores * lanes * width * (16 + 4 * self.scores) + results * lanes * columns * (16 + 16 * self.wide());
        let staged = 4 * width * (scores * (rows + columns) + results * columns);
        let weights = 4 * rows * columns * if self.pass == Pass::Forward { 1 } else { 3 };
        let barriers = scores * self.vectors.div_ceil(block.depth) + results * (columns / block.slice);
        let bytes = operands + 2 * staged + weights + 64 * lanes * barriers;
        let needed = f64::from((scores + results) * rows * columns) * f64::from(width);
        f64::from(bytes) / needed * (1.0 + f64::from(rows.max(columns)) / f64::from(CONTEXT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads up to 128 wide get by with what every adapter has, in workgroups of 64; and no lane keeps more than the
    /// registers allow.
    #[test]
    fn blocks_fit() {
        for pass in [Pass::Forward, Pass::BackwardQ, Pass::BackwardKv] {
            for vectors in 1..=64 {
                for (lanes, memory) in [(64, 16 << 10), (128, 24 << 10), (128, 32 << 10)] {
                    for kept in [FEW, MANY, MOST] {
                        let budget = Budget { lanes, kept, memory };
                        let Some(block) = Block::new(pass, budget, vectors) else {
                            assert!(vectors > 32, "{pass:?} of {vectors} by {budget:?}");
                            continue;
                        };
                        assert!(block.memory <= memory, "{pass:?} of {vectors} by {budget:?}: {block:?}");
                        assert!(block.depth <= DEPTH && block.columns % block.slice == 0, "{block:?}");
                        let groups = 4 * lanes / block.rows;
                        let results = if pass == Pass::BackwardKv { 2 } else { 1 } * vectors.div_ceil(groups);
                        let taken = 16 * results + 4 * block.columns / groups;
                        assert!(taken <= kept, "{pass:?} of {vectors} by {budget:?}: {taken} per lane in {block:?}");
                    }
                }
            }
        }
    }

    /// With more registers, every operand from workgroup memory is used more often.
    #[test]
    fn more_registers_make_larger_blocks() {
        let of = |pass, kept, memory: u32| {
            let block = Block::new(pass, Budget { lanes: 128, kept, memory: memory << 10 }, 16).expect("there is one");
            (block.rows, block.columns, block.depth, block.slice)
        };
        assert_eq!(of(Pass::Forward, FEW, 24), (64, 32, 8, 32));
        assert_eq!(of(Pass::Forward, MANY, 24), (64, 64, 8, 16));
        assert_eq!(of(Pass::Forward, MOST, 32), (128, 32, 8, 32));
        assert_eq!(of(Pass::BackwardKv, MOST, 32), (64, 64, 6, 32));
    }
}
