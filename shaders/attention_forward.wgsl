// attention_forward: causal attention by online softmax (Milakov and Gimelshein 2018; Dao et al. 2022), one query row
// per invocation. out[batch, context, heads * D] = softmax(scale * q k^T, keys <= query) v; lse[batch, heads, context]
// is the log of the softmax's denominator. Grid: x over queries, y over heads, z over the batch. Overwrites.
// @include "lib/attention.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.x * WORKGROUP + lane;
    let head = group.y;
    if (t >= p.context) {
        return;
    }
    let kv = head / (p.heads / p.kv_heads);
    let query = qkv_at(group.z, t, head);
    var q: array<f32, D>;
    var sums: array<f32, D>;
    for (var c = 0u; c < D; c += 1u) {
        q[c] = qkv[query + c] * p.scale;
        sums[c] = 0.0;
    }
    var greatest = -3.4e38;
    var total = 0.0;
    for (var j = 0u; j <= t; j += 1u) {
        let key = qkv_at(group.z, j, p.heads + kv);
        let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
        var score = 0.0;
        for (var c = 0u; c < D; c += 1u) {
            score = fma(q[c], qkv[key + c], score);
        }
        let higher = max(greatest, score);
        let shrink = exp(greatest - higher);
        let weight = exp(score - higher);
        greatest = higher;
        total = fma(total, shrink, weight);
        for (var c = 0u; c < D; c += 1u) {
            sums[c] = fma(sums[c], shrink, weight * qkv[value + c]);
        }
    }
    let target_row = out_at(group.z, t, head);
    for (var c = 0u; c < D; c += 1u) {
        out[target_row + c] = sums[c] / total;
    }
    lse[(group.z * p.heads + head) * p.context + t] = greatest + log(total);
}
