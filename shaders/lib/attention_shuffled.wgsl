// Rows that all lanes read, for workgroups that are one subgroup of exactly WORKGROUP lanes: each lane loads every
// WORKGROUP-th vector of a row and shuffles pass it to the others, so that a row is loaded once per subgroup, without a
// barrier. For GPUs; lib/attention_shared.wgsl is the same for 8 lanes, written out for compilers that do not unroll loops.
// @include "lib/attention_pieces.wgsl"
const QUERIES: u32 = 1u;
const PIECES: u32 = (D4 + WORKGROUP - 1u) / WORKGROUP;
const SHARED_BY: u32 = min(WORKGROUP, D4); // lanes that load different vectors
const STRIDE: u32 = D4;
alias Rows = array<vec4<f32>, D4 * QUERIES>;
alias Sums = array<vec4<f32>, QUERIES>;

// The vector of a row that this lane loads as its share of piece i; lanes past the end of a row load its last one.
fn piece(i: u32, lane: u32) -> u32 {
    return min(i * WORKGROUP + lane, D4 - 1u);
}

// Adds to each sum the products of the piece and the same columns of that row; the dot product is the total of the sum.
fn piece_dot(rows: ptr<function, Rows>, i: u32, mine: vec4<f32>, sums: ptr<function, Sums>) {
    for (var l = 0u; l < SHARED_BY; l += 1u) {
        let x = subgroupShuffle(mine, l);
        let c = i * WORKGROUP + l;
        if (c < D4) {
            for (var r = 0u; r < QUERIES; r += 1u) {
                (*sums)[r] = fma((*rows)[r * STRIDE + c], x, (*sums)[r]);
            }
        }
    }
}

// row += weight * the piece, for every row.
fn piece_add(rows: ptr<function, Rows>, i: u32, weights: array<f32, QUERIES>, mine: vec4<f32>) {
    for (var l = 0u; l < SHARED_BY; l += 1u) {
        let x = subgroupShuffle(mine, l);
        let c = i * WORKGROUP + l;
        if (c < D4) {
            for (var r = 0u; r < QUERIES; r += 1u) {
                (*rows)[r * STRIDE + c] = fma(vec4<f32>(weights[r]), x, (*rows)[r * STRIDE + c]);
            }
        }
    }
}
