// gelu_backward: grad_x[count] = grad_out[count] * gelu'(x[count]), in vectors of four; overwrites.
// @include "lib/index.wgsl"
// @include "lib/gelu.wgsl"
alias element = vec4<f32>;
alias grad_element = vec4<f32>;
struct Params { count: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read> grad_out: array<grad_element>;
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
    grad_x[i] = element(vec4<f32>(grad_out[i]) * gelu_derivative4(vec4<f32>(x[i])));
}
