// scale_rows: out[rows, width] = x * factors[row], or += when accumulate is set. count = rows * width. With one row
// this multiplies by a number on the GPU: the chain rule through a scalar, or (x = weights) through weighted_row_sum.
// @include "lib/index.wgsl"
struct Params { count: u32, width: u32, accumulate: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> factors: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

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
    out[i] = select(0.0, out[i], p.accumulate != 0u) + x[i] * factors[i / p.width];
}
