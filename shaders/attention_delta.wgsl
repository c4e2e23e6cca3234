// attention_delta: delta[batch, heads, context] = sum over the head's columns of grad_out * out, the part of the
// softmax's gradient that all keys of a query share. Grid as in attention_forward. Overwrites.
// @include "lib/attention.wgsl"
@group(0) @binding(0) var<storage, read> out: array<element>;
@group(0) @binding(1) var<storage, read> grad_out: array<element>;
@group(0) @binding(2) var<storage, read_write> delta: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.x * WORKGROUP + lane;
    if (t >= p.context) {
        return;
    }
    let row = out_at(group.z, t, group.y);
    var sum = 0.0;
    for (var c = 0u; c < D4; c += 1u) {
        sum += dot(vec4<f32>(out[row + c]), vec4<f32>(grad_out[row + c]));
    }
    delta[state_at(group.z, t, group.y)] = sum;
}
