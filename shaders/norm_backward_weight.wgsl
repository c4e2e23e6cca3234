// norm_backward_weight: partial sums over each chunk of rows of grad_out * (x - mean) * rstd, the gradient of norm's
// weight, and (BIAS) of grad_out, the gradient of its bias. Both outputs [chunks, width]; count = chunks * columns, where
// columns = width / EACH. Overwrites; column_sum adds the chunks.
// @include "lib/index.wgsl"
// @include elements = "lib/elements.wgsl"
const BIAS: bool = true;
alias grad_out_element = wide;
struct Params { count: u32, rows: u32, columns: u32, chunk_rows: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<wide>;
@group(0) @binding(1) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> grad_out: array<grad_out_element>;
@group(0) @binding(3) var<storage, read_write> weight_sums: array<wide>;
@group(0) @binding(4) var<storage, read_write> bias_sums: array<wide>;

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
    let chunk = i / p.columns;
    let column = i - chunk * p.columns;
    let first = chunk * p.chunk_rows;
    var weight_sum = wide();
    var bias_sum = wide();
    for (var row = first; row < min(first + p.chunk_rows, p.rows); row += 1u) {
        let g = wide(grad_out[row * p.columns + column]);
        let known = stats[row];
        weight_sum = fma(g, (x[row * p.columns + column] - known.x) * known.y, weight_sum);
        bias_sum += g;
    }
    weight_sums[i] = weight_sum;
    if (BIAS) {
        bias_sums[i] = bias_sum;
    }
}
