// norm_backward_weight: partial sums over each chunk of rows of grad_out * (x - mean) * rstd, the gradient of norm's
// weight, and (BIAS) of grad_out, the gradient of its bias. Both outputs [chunks, columns]; count = chunks * columns.
// Overwrites; column_sum adds the chunks.
// @include "lib/index.wgsl"
const BIAS: bool = true;
alias grad_element = f32;
struct Params { count: u32, rows: u32, columns: u32, chunk_rows: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> stats: array<f32>;
@group(0) @binding(2) var<storage, read> grad_out: array<grad_element>;
@group(0) @binding(3) var<storage, read_write> weight_sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> bias_sums: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.count) {
        return;
    }
    let first = i / p.columns * p.chunk_rows;
    let column = i % p.columns;
    var weight_sum = 0.0;
    var bias_sum = 0.0;
    for (var row = first; row < min(first + p.chunk_rows, p.rows); row += 1u) {
        let g = f32(grad_out[row * p.columns + column]);
        weight_sum = fma(g, (x[row * p.columns + column] - stats[row * 2u]) * stats[row * 2u + 1u], weight_sum);
        bias_sum += g;
    }
    weight_sums[i] = weight_sum;
    if (BIAS) {
        bias_sums[i] = bias_sum;
    }
}
