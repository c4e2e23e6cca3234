// Shared by the products with packed weights: parameters, operands, the normalisation of the inputs and the epilogue of
// the results.
// x = NORM ? (a - CENTER mean) * rstd * norm_weight (+ norm_bias) : a
// out[m, first + n] = (RESIDUAL ? residual : 0) + activation?(sum_k x[m, k] * W[n, k] + bias?)
// SWIGLU: W has 2 n rows, gates first; out[m, n] = silu(gate) * up.
// a is [m, k]; k is a multiple of 4; a row of weights is row_quads vectors, `blocks` times 32 elements.
// @include "lib/gelu.wgsl"
const NORM: bool = false;
const CENTER: bool = false;
const NORM_BIAS: bool = false;
const BIAS: bool = false;
const GELU: bool = false;
const SWIGLU: bool = false;
const RESIDUAL: bool = false;

struct Params {
    m: u32, n: u32, k: u32,
    first: u32, out_row: u32,
    row_quads: u32, blocks: u32,
    epsilon: f32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> norm_bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

// Four elements of a row of x, vector `k4` of the row; zero past the end.
fn x4(row: u32, k4: u32, mean: f32, rstd: f32) -> vec4<f32> {
    let inside = k4 < p.k / 4u;
    let at = min(k4, p.k / 4u - 1u);
    var value = a[row * (p.k / 4u) + at];
    if (NORM) {
        if (CENTER) {
            value -= mean;
        }
        value *= rstd * norm_weight[at];
        if (NORM_BIAS) {
            value += norm_bias[at];
        }
    }
    return select(vec4<f32>(), value, inside);
}

fn store(row: u32, column: u32, sum: f32, up: f32) {
    if (row >= p.m || column >= p.n) {
        return;
    }
    let c = p.first + column;
    var value = sum;
    if (BIAS) {
        value += bias[c];
    }
    if (GELU) {
        value = gelu(value);
    }
    if (SWIGLU) {
        var linear = up;
        if (BIAS) {
            linear += bias[p.n + c];
        }
        value = value / (1.0 + exp(-value)) * linear;
    }
    let i = row * p.out_row + c;
    if (RESIDUAL) {
        value += residual[i];
    }
    out[i] = value;
}
