// swiglu_backward: with s = sigmoid(gate), d gate = grad_out * up * s (1 + gate (1 - s)) and
// d up = grad_out * gate * s; x and grad_x [rows, 2 width], grad_out [rows, width]. Overwrites.
// @include "lib/index.wgsl"
alias element = f32;
struct Params { count: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read> grad_out: array<element>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<element>;

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
    let gate = f32(x[base]);
    let up = f32(x[base + p.width]);
    let g = f32(grad_out[i]);
    let s = 1.0 / (1.0 + exp(-gate));
    grad_x[base] = element(g * up * s * (1.0 + gate * (1.0 - s)));
    grad_x[base + p.width] = element(g * gate * s);
}
