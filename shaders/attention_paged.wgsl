// attention_paged: attention of new tokens over pages that already hold their keys and values. Tile i covers the rows given
// by tiles[i] = (first row, rows, start in tables, first position): consecutive tokens of one text, whose position j is in
// page tables[start + j / PAGE] at j % PAGE. The row at position t sees 0..=t.
// q[rows, heads * D], keys and values [pages, kv_heads, PAGE, D], out[rows, heads * D].
// A workgroup takes GROUP query heads that share keys and values, of one tile of at most QUERIES rows, and positions
// split * span..(split + 1) * span: ranges do not depend on what else is computed, so neither does a text's rounding. With
// one split, out is the result; with more, it is [row, head, split, D/4 + 1] vectors for attention_merge: sums that are not
// normalised yet, then (greatest score, sum of weights). A round takes CHUNK positions: the lanes first divide the scores
// among them, then the columns of the values. Grid: x tiles, y heads / GROUP, z splits. Overwrites.
// @include cache = "lib/cache_f32.wgsl"
// @include "lib/attention_stored.wgsl"
const PAGE: u32 = 32u;

struct Params { heads: u32, kv_heads: u32, splits: u32, span: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> keys: array<stored4>;
@group(0) @binding(2) var<storage, read> values: array<stored4>;
@group(0) @binding(3) var<storage, read> tiles: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> tables: array<u32>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

fn stored_at(table: u32, position: u32, kv: u32) -> u32 {
    let page = tables[table + position / PAGE];
    return ((page * p.kv_heads + kv) * PAGE + position % PAGE) * COLUMNS;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let numbers = tiles[group.x];
    let tile = Tile(numbers.x, numbers.y, numbers.z, numbers.w);
    // The keys that the last row sees; those that the others do not see are masked.
    let seen = tile.past + tile.rows;
    let begin = min(group.z * p.span, seen);
    attend(tile, group.y * GROUP, group.z, begin, min(begin + p.span, seen), lane);
}
