// attention_forward: causal attention by online softmax (Milakov and Gimelshein 2018; Dao et al. 2022), one query row
// per invocation. out[batch, context, heads * D] = softmax(scale * q k^T, keys <= query) v; lse[batch, heads, context]
// is the log of the softmax's denominator. Grid: x over queries, y over heads, z over the batch. Overwrites.
// @include "lib/attention.wgsl"
// @include rows = "lib/attention_plain.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.x * WORKGROUP + lane;
    let head = group.y;
    let kv = head / (p.heads / p.kv_heads);
    let query = qkv_at(group.z, min(t, p.context - 1u), head);
    var q: Row;
    var sums: Row;
    for (var c = 0u; c < D4; c += 1u) {
        q[c] = qkv[query + c] * p.scale;
    }
    var greatest = -3.4e38;
    var total = 0.0;
    // The loop is the same for all lanes of a workgroup; keys after a lane's own query get weight 0.
    let end = min((group.x + 1u) * WORKGROUP, p.context);
    for (var j = 0u; j < end; j += 1u) {
        let key = qkv_at(group.z, j, p.heads + kv);
        let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
        var score = 0.0;
        for (var i = 0u; i < PIECES; i += 1u) {
            score += piece_dot(&q, i, qkv[key + piece(i, lane)]);
        }
        score = select(-3.4e38, score, j <= t);
        let higher = max(greatest, score);
        let shrink = exp(greatest - higher);
        let weight = select(0.0, exp(score - higher), j <= t);
        greatest = higher;
        total = fma(total, shrink, weight);
        for (var c = 0u; c < D4; c += 1u) {
            sums[c] *= shrink;
        }
        for (var i = 0u; i < PIECES; i += 1u) {
            piece_add(&sums, i, weight, qkv[value + piece(i, lane)]);
        }
    }
    if (t >= p.context) {
        return;
    }
    let row = out_at(group.z, t, head);
    for (var c = 0u; c < D4; c += 1u) {
        out[row + c] = sums[c] / total;
    }
    lse[state_at(group.z, t, head)] = greatest + log(total);
}
