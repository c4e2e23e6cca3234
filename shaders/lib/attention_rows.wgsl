// A lane keeps its own QUERIES rows, one after the other in Rows, and uses each piece, which is one vector, for all of them.
const QUERIES: u32 = 1u;
const STRIDE: u32 = D4;
alias Rows = array<vec4<f32>, D4 * QUERIES>;
alias Sums = array<vec4<f32>, QUERIES>;
const PIECES: u32 = D4;

// Adds to each sum the products of the piece and the same columns of that row; the dot product is the total of the sum.
fn piece_dot(rows: ptr<function, Rows>, i: u32, mine: vec4<f32>, sums: ptr<function, Sums>) {
    for (var r = 0u; r < QUERIES; r += 1u) {
        (*sums)[r] = fma((*rows)[r * STRIDE + i], mine, (*sums)[r]);
    }
}

// row += weight * the piece, for every row.
fn piece_add(rows: ptr<function, Rows>, i: u32, weights: array<f32, QUERIES>, mine: vec4<f32>) {
    for (var r = 0u; r < QUERIES; r += 1u) {
        (*rows)[r * STRIDE + i] = fma(vec4<f32>(weights[r]), mine, (*rows)[r * STRIDE + i]);
    }
}
