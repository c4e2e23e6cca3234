// Rows that all lanes read alike: every lane loads every piece itself.
// @include "lib/attention_rows.wgsl"

// The vector of a row that this lane loads as its piece i.
fn piece(i: u32, lane: u32) -> u32 {
    return i;
}

// Piece i of row j, which stands at `at`, of the kernel's first and second source.
fn piece_of_a(at: u32, j: u32, i: u32, lane: u32) -> vec4<f32> {
    return source_a(at + piece(i, lane));
}

fn piece_of_b(at: u32, j: u32, i: u32, lane: u32) -> vec4<f32> {
    return source_b(at + piece(i, lane));
}

// Nothing to prepare before row j is read.
fn stage(z: u32, j: u32, head: u32, lane: u32) {}
