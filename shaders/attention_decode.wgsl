// attention_decode: attention of new tokens over a cache that already holds their keys and values. Query t stands at
// position past + t and sees positions 0..=past + t. qkv[batch, context, (heads + 2 kv_heads) * D], keys and values
// [batch, kv_heads, capacity, D], out[batch, context, heads * D]. One workgroup per (query, head, sequence): lanes
// share out the positions, then merge their online softmaxes. Grid: x queries, y heads, z batch. Overwrites.
const D: u32 = 64u;
const LANES: u32 = 32u;

struct Params { context: u32, heads: u32, kv_heads: u32, past: u32, capacity: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<f32>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> weight_of: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.x;
    let head = group.y;
    let kv = head / (p.heads / p.kv_heads);
    let row = group.z * p.context + t;
    let query = (row * (p.heads + 2u * p.kv_heads) + head) * D;
    let first = (group.z * p.kv_heads + kv) * p.capacity * D;
    let target_row = (row * p.heads + head) * D;
    var q: array<f32, D>;
    for (var c = 0u; c < D; c += 1u) {
        q[c] = qkv[query + c] * p.scale;
    }
    var greatest = -3.4e38;
    var total = 0.0;
    // Every round takes LANES positions: each lane scores one, then each lane gathers its own columns of all of them.
    var sums: array<f32, (D + LANES - 1u) / LANES>;
    for (var i = 0u; i < (D + LANES - 1u) / LANES; i += 1u) {
        sums[i] = 0.0;
    }
    let seen = p.past + t + 1u;
    for (var start = 0u; start < seen; start += LANES) {
        let j = start + lane;
        var score = -3.4e38;
        if (j < seen) {
            score = 0.0;
            for (var c = 0u; c < D; c += 1u) {
                score = fma(q[c], keys[first + j * D + c], score);
            }
        }
        weight_of[lane] = score;
        workgroupBarrier();
        var higher = greatest;
        for (var i = 0u; i < LANES; i += 1u) {
            higher = max(higher, weight_of[i]);
        }
        let shrink = exp(greatest - higher);
        greatest = higher;
        total *= shrink;
        for (var i = 0u; i < (D + LANES - 1u) / LANES; i += 1u) {
            sums[i] *= shrink;
        }
        for (var i = 0u; i < min(LANES, seen - start); i += 1u) {
            let weight = exp(weight_of[i] - higher);
            total += weight;
            for (var part = 0u; part < (D + LANES - 1u) / LANES; part += 1u) {
                let c = part * LANES + lane;
                if (c < D) {
                    sums[part] = fma(weight, values[first + (start + i) * D + c], sums[part]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var part = 0u; part < (D + LANES - 1u) / LANES; part += 1u) {
        let c = part * LANES + lane;
        if (c < D) {
            out[target_row + c] = sums[part] / total;
        }
    }
}
