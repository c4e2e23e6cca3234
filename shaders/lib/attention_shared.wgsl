// Rows that all lanes read alike, for subgroups of exactly 8 lanes: each lane loads an eighth, broadcasts give it to the
// others. Pays where a load costs each lane separately (software adapters). Rows are padded to a multiple of 8 vectors;
// the padding of the row that is multiplied must be zero.
const PIECES: u32 = (D4 + 7u) / 8u;
alias Row = array<vec4<f32>, PIECES * 8u>;

// The vector of a row that this lane loads as its share of piece i.
fn piece(i: u32, lane: u32) -> u32 {
    return min(i * 8u + lane, D4 - 1u);
}

// The part of the dot product of `row` that piece i covers.
fn piece_dot(row: ptr<function, Row>, i: u32, mine: vec4<f32>) -> f32 {
    let first = i * 8u;
    var sum = (*row)[first] * subgroupBroadcast(mine, 0u);
    sum = fma((*row)[first + 1u], subgroupBroadcast(mine, 1u), sum);
    sum = fma((*row)[first + 2u], subgroupBroadcast(mine, 2u), sum);
    sum = fma((*row)[first + 3u], subgroupBroadcast(mine, 3u), sum);
    sum = fma((*row)[first + 4u], subgroupBroadcast(mine, 4u), sum);
    sum = fma((*row)[first + 5u], subgroupBroadcast(mine, 5u), sum);
    sum = fma((*row)[first + 6u], subgroupBroadcast(mine, 6u), sum);
    sum = fma((*row)[first + 7u], subgroupBroadcast(mine, 7u), sum);
    return sum.x + sum.y + sum.z + sum.w;
}

// row += weight * the piece.
fn piece_add(row: ptr<function, Row>, i: u32, weight: f32, mine: vec4<f32>) {
    let first = i * 8u;
    let w = vec4<f32>(weight);
    (*row)[first] = fma(w, subgroupBroadcast(mine, 0u), (*row)[first]);
    (*row)[first + 1u] = fma(w, subgroupBroadcast(mine, 1u), (*row)[first + 1u]);
    (*row)[first + 2u] = fma(w, subgroupBroadcast(mine, 2u), (*row)[first + 2u]);
    (*row)[first + 3u] = fma(w, subgroupBroadcast(mine, 3u), (*row)[first + 3u]);
    (*row)[first + 4u] = fma(w, subgroupBroadcast(mine, 4u), (*row)[first + 4u]);
    (*row)[first + 5u] = fma(w, subgroupBroadcast(mine, 5u), (*row)[first + 5u]);
    (*row)[first + 6u] = fma(w, subgroupBroadcast(mine, 6u), (*row)[first + 6u]);
    (*row)[first + 7u] = fma(w, subgroupBroadcast(mine, 7u), (*row)[first + 7u]);
}
