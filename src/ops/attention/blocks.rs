//! How the block kernels divide their work among lanes, and what that takes of workgroup memory.

/// What a block kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Vectors of results that a lane keeps for each of its four rows: 64 f32. Beside them, 16 scores and the operands, a lane
/// of Apple's M1 has no more of its 127 registers left; nothing spills there, nor on RDNA2 to 4, NVIDIA's Turing to
/// Blackwell or Adreno 740 (Mesa 26.2.6's compilers; 24 scores or 20 more results do).
pub const RESULTS: u32 = 4;
/// The same where a lane has few registers: with 64 results, Intel's compiler spills up to 343 values.
pub const FEW_RESULTS: u32 = 2;
/// Bytes that every adapter has.
const GUARANTEED: u32 = 16 << 10;
/// Vectors of a head that are staged at once, where memory allows.
const DEPTH: u32 = 8;

impl Block {
    /// The block of a workgroup with `lanes` lanes that keep at most `kept` vectors of results per row, for heads of `vectors`
    /// vectors of four. It takes at most `most` bytes, if there is such a block.
    pub fn new(pass: Pass, (lanes, kept): (u32, u32), vectors: u32, most: u32) -> Self {
        let results = if pass == Pass::BackwardKv { 2 } else { 1 };
        let mut groups = 8;
        while vectors.div_ceil(groups) * results > kept {
            groups *= 2;
        }
        // Steps of equal depth.
        let depth = vectors.div_ceil(vectors.div_ceil(DEPTH));
        let shape = Shape { pass, lanes, groups, wide: vectors.div_ceil(groups) };
        let half = Self::of(shape, 8, depth);
        // With twice the scores, every operand is used twice as often. Only the forward pass has registers for that, and only
        // for narrow heads.
        if pass == Pass::Forward && shape.wide <= kept / 2 && half.memory <= GUARANTEED {
            return half.with_slices(shape, GUARANTEED);
        }
        let mut depths = std::iter::successors(Some(depth), |depth| (*depth > 1).then(|| depth.div_ceil(2)));
        let fits = |depth: &u32| Self::of(shape, 4, *depth).memory <= most;
        let block = Self::of(shape, 4, depths.find(fits).unwrap_or(1));
        block.with_slices(shape, block.memory.max(GUARANTEED))
    }

    /// The block with `scores` scores per lane and row, in the smallest slices.
    fn of(shape: Shape, scores: u32, depth: u32) -> Self {
        let (rows, columns, slice) = (4 * shape.lanes / shape.groups, scores * shape.groups, 4);
        let block = Self { rows, columns, depth, slice, memory: 0 };
        Self { memory: block.bytes(shape), ..block }
    }

    /// The block in the largest slices with which it takes no more than `most` bytes.
    fn with_slices(self, shape: Shape, most: u32) -> Self {
        let mut block = self;
        while block.slice < block.columns {
            let larger = Self { slice: 2 * block.slice, ..block };
            let memory = larger.bytes(shape);
            if memory > most {
                break;
            }
            block = Self { memory, ..larger };
        }
        block
    }

    /// As `lib/attention_block.wgsl` and the kernels declare it.
    fn bytes(&self, shape: Shape) -> u32 {
        let weights = self.columns * (self.rows / 4 + 1);
        let lines = self.depth * (self.rows + self.columns);
        let slice = self.slice * shape.groups * shape.wide;
        16 * match shape.pass {
            Pass::Forward => lines.max(weights + slice) + shape.lanes,
            Pass::BackwardQ | Pass::BackwardKv => weights + lines.max(slice),
        }
    }
}

/// How lanes are arranged.
#[derive(Clone, Copy)]
struct Shape {
    pass: Pass,
    lanes: u32,
    /// Lanes that share rows.
    groups: u32,
    /// Vectors of each result per lane and row.
    wide: u32,
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
                for (lanes, most) in [(64, GUARANTEED), (128, 24 << 10)] {
                    let block = Block::new(pass, (lanes, RESULTS), vectors, most);
                    assert!(block.memory <= most, "{pass:?} of {vectors} by {lanes}: {block:?}");
                    assert!(block.depth <= DEPTH && block.columns % block.slice == 0, "{block:?}");
                    let groups = 4 * lanes / block.rows;
                    let results = if pass == Pass::BackwardKv { 2 } else { 1 } * vectors.div_ceil(groups);
                    let kept = 16 * results + 4 * block.columns / groups;
                    assert!(kept <= 80, "{pass:?} of {vectors} by {lanes}: {kept} per lane in {block:?}");
                }
            }
        }
    }
}
