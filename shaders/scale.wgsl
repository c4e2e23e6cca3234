// scale: out[count] = factor * x[count], or out += factor * x when accumulate is set; in vectors of four.
// @include "lib/index.wgsl"
alias x_element = vec4<f32>;
alias out_element = vec4<f32>;
struct Params { count: u32, factor: f32, accumulate: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<x_element>;
@group(0) @binding(1) var<storage, read_write> out: array<out_element>;

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
    var value = p.factor * vec4<f32>(x[i]);
    if (p.accumulate != 0u) {
        value += vec4<f32>(out[i]);
    }
    out[i] = out_element(value);
}
