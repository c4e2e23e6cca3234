// paged_append: splits qkv[rows, (heads + 2 kv_heads) * D]: queries to q[rows, heads * D], keys and values to pages
// [pages, kv_heads, PAGE, D]. places[row] = (position of the token in its text, page * PAGE + index in the page). ROTARY:
// queries and keys are rotated first, pairs (i, i + D/2) by the angle of the position, table[position, D/2] = (cos, sin);
// see rope.wgsl. One invocation per two pairs; count = rows * (heads + 2 kv_heads) * D/4. Overwrites.
// @include cache = "lib/cache_f32.wgsl"
// @include "lib/append.wgsl"
const PAGE: u32 = 32u;
struct Params { count: u32, heads: u32, kv_heads: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> keys: array<stored2>;
@group(0) @binding(5) var<storage, read_write> values: array<stored2>;

fn turned_at(row: u32) -> u32 {
    return places[row].x;
}

fn stored_at(row: u32, kv: u32) -> u32 {
    let place = places[row].y;
    return ((place / PAGE * p.kv_heads + kv) * PAGE + place % PAGE) * (D / 2u);
}
