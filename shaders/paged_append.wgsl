// paged_append: splits qkv[rows, (heads + 2 kv_heads) * D]: queries to q[rows, heads * D], keys and values to pages
// [pages, kv_heads, PAGE, D]. places[row] = (position of the token in its text, page * PAGE + place in the page). ROTARY:
// queries and keys are rotated first, pairs (i, i + D/2) by the angle of the position, table[position, D/2] = (cos, sin);
// see rope.wgsl. One invocation per two pairs; count = rows * (heads + 2 kv_heads) * D/4. Overwrites.
// @include "lib/index.wgsl"
// @include cache = "lib/cache_f32.wgsl"
const D: u32 = 64u;
const PAGE: u32 = 32u;
const ROTARY: bool = true;
struct Params { count: u32, heads: u32, kv_heads: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> qkv: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> places: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> keys: array<stored2>;
@group(0) @binding(5) var<storage, read_write> values: array<stored2>;

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
    let column = i % (D / 4u);
    let all_heads = p.heads + 2u * p.kv_heads;
    let head = i / (D / 4u) % all_heads;
    let row = i / (D / 4u * all_heads);
    let source = (row * all_heads + head) * (D / 2u) + column;
    let place = places[row];
    var low = qkv[source];
    var high = qkv[source + D / 4u];
    if (ROTARY && head < p.heads + p.kv_heads) {
        let turns = table[place.x * (D / 4u) + column];
        let a = low;
        low = a * turns.xz - high * turns.yw;
        high = high * turns.xz + a * turns.yw;
    }
    if (head < p.heads) {
        let at = (row * p.heads + head) * (D / 2u) + column;
        q[at] = low;
        q[at + D / 4u] = high;
        return;
    }
    let kv = (head - p.heads) % p.kv_heads;
    let at = ((place.y / PAGE * p.kv_heads + kv) * PAGE + place.y % PAGE) * (D / 2u) + column;
    if (head < p.heads + p.kv_heads) {
        keys[at] = narrow(low);
        keys[at + D / 4u] = narrow(high);
    } else {
        values[at] = narrow(low);
        values[at + D / 4u] = narrow(high);
    }
}
