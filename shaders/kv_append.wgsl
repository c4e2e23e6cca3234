// kv_append: copies the key and value columns of qkv[batch, context, (heads + 2 kv_heads) * D] into the caches
// [batch, kv_heads, capacity, D] at positions past..past + context. count = batch * context * kv_heads * D.
// @include "lib/index.wgsl"
struct Params { count: u32, dim: u32, heads: u32, kv_heads: u32, context: u32, past: u32, capacity: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> keys: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;

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
    let column = i % p.dim;
    let kv = i / p.dim % p.kv_heads;
    let row = i / (p.dim * p.kv_heads);
    let source = (row * (p.heads + 2u * p.kv_heads) + p.heads + kv) * p.dim + column;
    let slot = ((row / p.context * p.kv_heads + kv) * p.capacity + p.past + row % p.context) * p.dim + column;
    keys[slot] = qkv[source];
    values[slot] = qkv[source + p.kv_heads * p.dim];
}
