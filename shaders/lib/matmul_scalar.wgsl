// Loads and stores of matmul by single elements; every size is right.
// @include "lib/matmul.wgsl"

// A[z, row, column]; both must be in range.
fn load_a(z: u32, row: u32, column: u32) -> f32 {
    return a[z * p.a_batch + select(row * p.a_row + column, column * p.a_row + row, TRANS_A)];
}

// B[z, row, column]; both must be in range.
fn load_b(z: u32, row: u32, column: u32) -> f32 {
    return b[z * p.b_batch + select(row * p.b_row + column, column * p.b_row + row, TRANS_B)];
}

// Applies the epilogue to one sum and stores it, if it is inside the result.
fn store(z: u32, row: u32, column: u32, sum: f32) {
    if (row >= p.m || column >= p.n) {
        return;
    }
    let i = z * p.out_batch + row * p.out_row + column;
    var value = sum;
    if (BIAS) {
        value += bias[column];
    }
    if (GELU) {
        preactivation[i] = value;
        value = gelu(value);
    }
    if (RESIDUAL) {
        value += residual[i];
    }
    out[i] = select(0.0, out[i], p.accumulate != 0u) + value;
}
