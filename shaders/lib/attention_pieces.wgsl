// Pieces that are read from memory as they are needed. Files that include this one define piece(i, lane): the vector of a
// row that a lane loads as its piece i.
// Piece i of row j, which begins at `at`, of the kernel's first and second source.
fn piece_of_a(at: u32, j: u32, i: u32, lane: u32) -> vec4<f32> {
    return source_a(at + piece(i, lane));
}

fn piece_of_b(at: u32, j: u32, i: u32, lane: u32) -> vec4<f32> {
    return source_b(at + piece(i, lane));
}

// Nothing has to be prepared before row j is read.
fn stage(z: u32, j: u32, head: u32, lane: u32) {}
