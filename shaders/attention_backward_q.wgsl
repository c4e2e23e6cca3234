// attention_backward_q: the gradient of the queries by recomputation. With w = exp(scale * q.k - lse),
// dq = scale * sum over keys of w (grad_out.v - delta) k. Writes the query columns of grad_qkv (laid out as qkv), one
// query row per invocation; grid as in attention_forward. Overwrites those columns.
// @include "lib/attention.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> grad_out: array<f32>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad_qkv: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.x * WORKGROUP + lane;
    let head = group.y;
    if (t >= p.context) {
        return;
    }
    let kv = head / (p.heads / p.kv_heads);
    let query = qkv_at(group.z, t, head);
    let row = out_at(group.z, t, head);
    let state = (group.z * p.heads + head) * p.context + t;
    var q: array<f32, D>;
    var g: array<f32, D>;
    var sums: array<f32, D>;
    for (var c = 0u; c < D; c += 1u) {
        q[c] = qkv[query + c] * p.scale;
        g[c] = grad_out[row + c];
        sums[c] = 0.0;
    }
    for (var j = 0u; j <= t; j += 1u) {
        let key = qkv_at(group.z, j, p.heads + kv);
        let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
        var score = 0.0;
        var rise = 0.0;
        for (var c = 0u; c < D; c += 1u) {
            score = fma(q[c], qkv[key + c], score);
            rise = fma(g[c], qkv[value + c], rise);
        }
        let slope = exp(score - lse[state]) * (rise - delta[state]) * p.scale;
        for (var c = 0u; c < D; c += 1u) {
            sums[c] = fma(slope, qkv[key + c], sums[c]);
        }
    }
    for (var c = 0u; c < D; c += 1u) {
        grad_qkv[query + c] = sums[c];
    }
}
