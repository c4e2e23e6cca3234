// fill: out[count] = value, in vectors of four; overwrites.
// @include "lib/index.wgsl"
alias element = vec4<f32>;
struct Params { count: u32, value: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> out: array<element>;

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
    out[i] = element(vec4<f32>(p.value));
}
