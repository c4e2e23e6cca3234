// dropout: out = x / (1 - rate) where random_bits(key, index of the element) >= threshold, else 0, for count vectors of
// four; overwrites.
// threshold = rate * 2^32. The backward pass is the same kernel applied to the gradient with the same key.
// @include "lib/index.wgsl"
// @include "lib/random.wgsl"
alias x_element = vec4<f32>;
alias out_element = vec4<f32>;
struct Params { count: u32, key: u32, threshold: u32, keep_scale: f32 }
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
    let bits = vec4<u32>(
        random_bits(p.key, 4u * i), random_bits(p.key, 4u * i + 1u),
        random_bits(p.key, 4u * i + 2u), random_bits(p.key, 4u * i + 3u),
    );
    out[i] = out_element(select(vec4<f32>(), vec4<f32>(x[i]) * p.keep_scale, bits >= vec4<u32>(p.threshold)));
}
