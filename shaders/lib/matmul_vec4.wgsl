// Stores of matmul by four elements. The element types are vectors of four; n must be a multiple of four.
// @include "lib/matmul.wgsl"

// Applies the epilogue to four sums in the columns column..column + 4 and stores them if they are inside the result.
fn store(z: u32, row: u32, column: u32, sum: vec4<f32>) {
    if (row >= p.m || column >= p.n) {
        return;
    }
    let i = (z * p.out_batch + row * p.out_row + column) / 4u;
    var value = sum;
    if (BIAS) {
        value += bias[column / 4u];
    }
    if (GELU) {
        preactivation[i] = before_element(value);
        value = gelu4(value);
    }
    if (RESIDUAL) {
        value += residual[i];
    }
    if (p.accumulate != 0u) {
        value += vec4<f32>(out[i]);
    }
    out[i] = out_element(value);
}
