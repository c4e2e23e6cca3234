// Stores of matmul by single elements; works for every size.
// @include "lib/matmul.wgsl"

// Applies the epilogue to one sum and stores it if it is inside the result.
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
        preactivation[i] = before_element(value);
        value = gelu(value);
    }
    if (RESIDUAL) {
        value += residual[i];
    }
    out[i] = out_element(select(0.0, f32(out[i]), p.accumulate != 0u) + value);
}
