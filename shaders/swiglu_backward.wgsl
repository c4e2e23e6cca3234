// swiglu_backward: with s = sigmoid(gate), d gate = grad_out * up * s (1 + gate (1 - s)) and
// d up = grad_out * gate * s; x and grad_x [rows, 2 width], grad_out [rows, width]. Overwrites.
// @include "lib/index.wgsl"
struct Params { count: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> grad_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<f32>;

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
    let base = i / p.width * p.width + i;
    let gate = x[base];
    let up = x[base + p.width];
    let s = 1.0 / (1.0 + exp(-gate));
    grad_x[base] = grad_out[i] * up * s * (1.0 + gate * (1.0 - s));
    grad_x[base + p.width] = grad_out[i] * gate * s;
}
