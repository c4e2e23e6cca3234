// Shared by all matmul variants: parameters, operands, and how a result reaches memory.
// out[z, m, n] = (accumulate ? out : 0) + (RESIDUAL ? residual : 0) + gelu?(sum_k A[z, m, k] * B[z, k, n] + bias?)
// A is [m, k] or (TRANS_A) [k, m]; B is [k, n] or (TRANS_B) [n, k]; *_row are row strides and *_batch batch strides.
// @include "lib/gelu.wgsl"
const TRANS_A: bool = false;
const TRANS_B: bool = false;
const BIAS: bool = false;
const GELU: bool = false;
const RESIDUAL: bool = false;

// What is loaded and stored at a time: one element, or four if the sizes allow it, of A, B and everything in the result's
// shape, in f32 or f16. Sums are always f32, and so are bias and residual.
alias a_element = f32;
alias b_element = f32;
alias result = f32;
alias out_element = f32;
alias before_element = f32;

struct Params {
    m: u32, n: u32, k: u32,
    a_row: u32, b_row: u32, out_row: u32,
    a_batch: u32, b_batch: u32, out_batch: u32,
    batch: u32, range: u32, accumulate: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<a_element>;
@group(0) @binding(1) var<storage, read> b: array<b_element>;
@group(0) @binding(2) var<storage, read> bias: array<result>;
@group(0) @binding(3) var<storage, read> residual: array<result>;
@group(0) @binding(4) var<storage, read_write> out: array<out_element>;
@group(0) @binding(5) var<storage, read_write> preactivation: array<before_element>;

// What workgroups with this number in z compute: batch z of A and B over begin..end of k. If k is one range, the number is
// the batch; otherwise there are `batch` numbers for each range of k, and the sums are stored likewise for matmul_join.
struct Part { z: u32, begin: u32, end: u32 }

fn part_of(number: u32) -> Part {
    let begin = number / p.batch * p.range;
    return Part(number % p.batch, begin, min(begin + p.range, p.k));
}
