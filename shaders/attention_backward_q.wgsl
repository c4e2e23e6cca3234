// attention_backward_q: the gradient of the queries by recomputation. With w = exp(scale * q.k - lse),
// dq = scale * sum over keys of w (grad_out.v - delta) k. Writes the query columns of grad_qkv (laid out as qkv), one
// query row per invocation; grid as in attention_forward. Overwrites those columns.
// @include "lib/attention.wgsl"
// @include rows = "lib/attention_plain.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> grad_out: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad_qkv: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let wanted = group.x * WORKGROUP + lane;
    let t = min(wanted, p.context - 1u);
    let head = group.y;
    let kv = head / (p.heads / p.kv_heads);
    let query = qkv_at(group.z, t, head);
    let row = out_at(group.z, t, head);
    let row_lse = lse[state_at(group.z, t, head)];
    let row_delta = delta[state_at(group.z, t, head)];
    var q: Row;
    var g: Row;
    var sums: Row;
    for (var c = 0u; c < D4; c += 1u) {
        q[c] = qkv[query + c] * p.scale;
        g[c] = grad_out[row + c];
    }
    let end = min((group.x + 1u) * WORKGROUP, p.context);
    for (var j = 0u; j < end; j += 1u) {
        let key = qkv_at(group.z, j, p.heads + kv);
        let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
        var score = 0.0;
        var rise = 0.0;
        for (var i = 0u; i < PIECES; i += 1u) {
            score += piece_dot(&q, i, qkv[key + piece(i, lane)]);
            rise += piece_dot(&g, i, qkv[value + piece(i, lane)]);
        }
        let slope = select(0.0, exp(score - row_lse) * (rise - row_delta) * p.scale, j <= t);
        for (var i = 0u; i < PIECES; i += 1u) {
            piece_add(&sums, i, slope, qkv[key + piece(i, lane)]);
        }
    }
    if (wanted >= p.context) {
        return;
    }
    for (var c = 0u; c < D4; c += 1u) {
        grad_qkv[query + c] = sums[c];
    }
}
