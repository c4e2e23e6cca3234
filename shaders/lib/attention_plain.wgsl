// Rows that all lanes read alike: every lane loads every piece itself.
alias Row = array<vec4<f32>, D4>;
const PIECES: u32 = D4;

// The vector of a row that this lane loads as its piece i.
fn piece(i: u32, lane: u32) -> u32 {
    return i;
}

// The part of the dot product of `row` that piece i covers.
fn piece_dot(row: ptr<function, Row>, i: u32, mine: vec4<f32>) -> f32 {
    return dot((*row)[i], mine);
}

// row += weight * the piece.
fn piece_add(row: ptr<function, Row>, i: u32, weight: f32, mine: vec4<f32>) {
    (*row)[i] = fma(vec4<f32>(weight), mine, (*row)[i]);
}
