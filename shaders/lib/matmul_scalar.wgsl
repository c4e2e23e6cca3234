// Loads and stores of matmul by single elements; works for every size.
// @include "lib/matmul_store.wgsl"

// A[z, row, column]; both must be in range.
fn load_a(z: u32, row: u32, column: u32) -> f32 {
    return f32(a[z * p.a_batch + select(row * p.a_row + column, column * p.a_row + row, TRANS_A)]);
}

// B[z, row, column]; both must be in range.
fn load_b(z: u32, row: u32, column: u32) -> f32 {
    return f32(b[z * p.b_batch + select(row * p.b_row + column, column * p.b_row + row, TRANS_B)]);
}
