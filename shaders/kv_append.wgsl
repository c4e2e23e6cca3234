// kv_append: splits qkv[batch, context, (heads + 2 kv_heads) * D]: queries to q[batch, context, heads * D], keys and
// values to the caches [batch, kv_heads, capacity, D] at positions past..past + context. ROTARY: queries and keys are
// rotated first, pairs (i, i + D/2) by the angle of the position, table[position, D/2] = (cos, sin); see rope.wgsl. With
// SEGMENTS, as there, rows are rotated by the position minus starts[row].
// One invocation per two pairs; count = batch * context * (heads + 2 kv_heads) * D/4. Overwrites.
// @include cache = "lib/cache_f32.wgsl"
// @include "lib/append.wgsl"
const SEGMENTS: bool = false;
struct Params { count: u32, heads: u32, kv_heads: u32, context: u32, past: u32, capacity: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> keys: array<stored2>;
@group(0) @binding(5) var<storage, read_write> values: array<stored2>;

fn turned_at(row: u32) -> u32 {
    let position = p.past + row % p.context;
    if (SEGMENTS) {
        return position - min(starts[row], position);
    }
    return position;
}

fn stored_at(row: u32, kv: u32) -> u32 {
    return ((row / p.context * p.kv_heads + kv) * p.capacity + p.past + row % p.context) * (D / 2u);
}
