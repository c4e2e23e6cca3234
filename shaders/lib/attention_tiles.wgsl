// Rows that all lanes read, TILE at a time through workgroup memory (32 * TILE * D4 bytes): each is loaded once per
// workgroup, and all lanes then read the same address, which causes no bank conflict. For adapters with cheap barriers.
// @include "lib/attention_rows.wgsl"
const TILE: u32 = 16u;

var<workgroup> tile_a: array<vec4<f32>, TILE * D4>;
var<workgroup> tile_b: array<vec4<f32>, TILE * D4>;

// Piece i of row j of the kernel's first and second source; stage(j) must have been called before.
fn piece_of_a(at: u32, j: u32, i: u32, lane: u32) -> vec4<f32> {
    return tile_a[j % TILE * D4 + i];
}

fn piece_of_b(at: u32, j: u32, i: u32, lane: u32) -> vec4<f32> {
    return tile_b[j % TILE * D4 + i];
}

// Called before row j is read; at the first row of a tile, loads rows j..j + TILE of both sources, where rows past the end
// repeat the last. Loops start at a multiple of TILE, and all lanes call this with the same j.
fn stage(z: u32, j: u32, head: u32, lane: u32) {
    if (j % TILE != 0u) {
        return;
    }
    workgroupBarrier();
    for (var n = lane; n < TILE * D4; n += WORKGROUP) {
        let row = min(j + n / D4, p.context - 1u);
        tile_a[n] = source_a(row_a(z, row, head) + n % D4);
        tile_b[n] = source_b(row_b(z, row, head) + n % D4);
    }
    workgroupBarrier();
}
