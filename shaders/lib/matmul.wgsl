// What every matmul variant shares: parameters, operands and the way a result reaches memory.
// out[z, m, n] = (accumulate ? out : 0) + (RESIDUAL ? residual : 0) + gelu?(sum_k A[z, m, k] * B[z, k, n] + bias?)
// A is [m, k] or (TRANS_A) [k, m]; B is [k, n] or (TRANS_B) [n, k]; *_row are row strides and *_batch batch strides.
// @include "lib/gelu.wgsl"
const TRANS_A: bool = false;
const TRANS_B: bool = false;
const BIAS: bool = false;
const GELU: bool = false;
const RESIDUAL: bool = false;

struct Params {
    m: u32, n: u32, k: u32,
    a_row: u32, b_row: u32, out_row: u32,
    a_batch: u32, b_batch: u32, out_batch: u32,
    accumulate: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> preactivation: array<f32>;

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
