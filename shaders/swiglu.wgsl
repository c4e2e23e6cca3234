// swiglu: out[rows, width] = silu(gate) * up, where x[rows, 2 width] holds gate then up in each row;
// silu(g) = g / (1 + exp(-g)). count = rows * width. Overwrites.
// @include "lib/index.wgsl"
alias element = f32;
struct Params { count: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read_write> out: array<element>;

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
    out[i] = element(gate / (1.0 + exp(-gate)) * f32(x[base + p.width]));
}
