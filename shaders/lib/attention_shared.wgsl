// Rows that all lanes read, for subgroups of exactly 8 lanes: each lane loads an eighth and broadcasts it to the others.
// This pays off where a load costs each lane separately (software adapters). A lane keeps its own QUERIES rows, one
// after the other in Rows, and uses each broadcast for all of them. Rows are padded to a multiple of 8 vectors; the
// padding of rows that are multiplied must be zero.
// @include "lib/attention_pieces.wgsl"
const QUERIES: u32 = 1u;
const PIECES: u32 = (D4 + 7u) / 8u;
const STRIDE: u32 = PIECES * 8u;
alias Rows = array<vec4<f32>, STRIDE * QUERIES>;
alias Sums = array<vec4<f32>, QUERIES>;

// The vector of a row that this lane loads as its share of piece i.
fn piece(i: u32, lane: u32) -> u32 {
    return min(i * 8u + lane, D4 - 1u);
}

fn column_dot(rows: ptr<function, Rows>, c: u32, x: vec4<f32>, sums: ptr<function, Sums>) {
    for (var r = 0u; r < QUERIES; r += 1u) {
        (*sums)[r] = fma((*rows)[r * STRIDE + c], x, (*sums)[r]);
    }
}

fn column_add(rows: ptr<function, Rows>, c: u32, weights: array<f32, QUERIES>, x: vec4<f32>) {
    for (var r = 0u; r < QUERIES; r += 1u) {
        (*rows)[r * STRIDE + c] = fma(vec4<f32>(weights[r]), x, (*rows)[r * STRIDE + c]);
    }
}

// Adds to each sum the products of the piece and the same columns of that row; the dot product is the total of the sum.
fn piece_dot(rows: ptr<function, Rows>, i: u32, mine: vec4<f32>, sums: ptr<function, Sums>) {
    let first = i * 8u;
    column_dot(rows, first, subgroupBroadcast(mine, 0u), sums);
    column_dot(rows, first + 1u, subgroupBroadcast(mine, 1u), sums);
    column_dot(rows, first + 2u, subgroupBroadcast(mine, 2u), sums);
    column_dot(rows, first + 3u, subgroupBroadcast(mine, 3u), sums);
    column_dot(rows, first + 4u, subgroupBroadcast(mine, 4u), sums);
    column_dot(rows, first + 5u, subgroupBroadcast(mine, 5u), sums);
    column_dot(rows, first + 6u, subgroupBroadcast(mine, 6u), sums);
    column_dot(rows, first + 7u, subgroupBroadcast(mine, 7u), sums);
}

// row += weight * the piece, for every row.
fn piece_add(rows: ptr<function, Rows>, i: u32, weights: array<f32, QUERIES>, mine: vec4<f32>) {
    let first = i * 8u;
    column_add(rows, first, weights, subgroupBroadcast(mine, 0u));
    column_add(rows, first + 1u, weights, subgroupBroadcast(mine, 1u));
    column_add(rows, first + 2u, weights, subgroupBroadcast(mine, 2u));
    column_add(rows, first + 3u, weights, subgroupBroadcast(mine, 3u));
    column_add(rows, first + 4u, weights, subgroupBroadcast(mine, 4u));
    column_add(rows, first + 5u, weights, subgroupBroadcast(mine, 5u));
    column_add(rows, first + 6u, weights, subgroupBroadcast(mine, 6u));
    column_add(rows, first + 7u, weights, subgroupBroadcast(mine, 7u));
}
