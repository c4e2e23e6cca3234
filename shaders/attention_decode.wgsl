// attention_decode: attention of new tokens over a cache that already holds their keys and values. Query t of sequence z
// is at position past + t and sees the positions (STARTS ? starts[z] : 0)..=past + t; a query that sees nothing gives 0.
// q[batch, context, heads * D], keys and values [batch, kv_heads, capacity, D], out[batch, context, heads * D].
// A workgroup takes GROUP query heads that share keys and values, of QUERIES tokens, and one of `splits` equal ranges of
// positions (more than one only for QUERIES = 1). With one split, out is the result; with more, it is
// [row, head, split, D/4 + 1] vectors for attention_merge: sums that are not normalised yet, then (greatest score, sum of
// weights). A round takes CHUNK positions: the lanes first divide the scores among them, then the columns of the values.
// Grid: x queries / QUERIES, y heads / GROUP, z batch * splits. Overwrites.
// @include cache = "lib/cache_f32.wgsl"
// @include "lib/attention_stored.wgsl"
const STARTS: bool = false;

struct Params { context: u32, heads: u32, kv_heads: u32, past: u32, capacity: u32, splits: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> keys: array<stored4>;
@group(0) @binding(2) var<storage, read> values: array<stored4>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

fn stored_at(sequence: u32, position: u32, kv: u32) -> u32 {
    return ((sequence * p.kv_heads + kv) * p.capacity + position) * COLUMNS;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let z = group.z / p.splits;
    let split = group.z % p.splits;
    let first_query = group.x * QUERIES;
    let rows = min(QUERIES, p.context - first_query);
    let past = p.past + first_query;
    // The keys that the last query sees; those that the others do not see are masked.
    let seen = past + rows;
    var begin = 0u;
    if (STARTS) {
        begin = min(starts[z], seen);
    }
    let share = (seen - begin + p.splits - 1u) / p.splits;
    begin = min(begin + split * share, seen);
    let end = min(begin + share, seen);
    attend(Tile(z * p.context + first_query, rows, z, past), group.y * GROUP, split, begin, end, lane);
}
