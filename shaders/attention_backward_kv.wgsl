// attention_backward_kv: the gradients of keys and values by recomputation. Over the queries t >= j of all query heads
// of the group, dv = sum w grad_out and dk = scale * sum w (grad_out.v - delta) q, with w = exp(scale * q.k - lse).
// Writes the key and value columns of grad_qkv, one key row per invocation. Grid: x over keys, y over key-value heads,
// z over the batch. Overwrites those columns.
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
    let j = min(wanted, p.context - 1u);
    let kv = group.y;
    let key = qkv_at(group.z, j, p.heads + kv);
    let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
    let shared_by = p.heads / p.kv_heads;
    var k: Row;
    var v: Row;
    var grad_k: Row;
    var grad_v: Row;
    for (var c = 0u; c < D4; c += 1u) {
        k[c] = qkv[key + c] * p.scale;
        v[c] = qkv[value + c];
    }
    for (var head = kv * shared_by; head < (kv + 1u) * shared_by; head += 1u) {
        // All lanes start at the workgroup's first key; queries before a lane's own key get weight 0.
        for (var t = group.x * WORKGROUP; t < p.context; t += 1u) {
            let query = qkv_at(group.z, t, head);
            let row = out_at(group.z, t, head);
            let state = state_at(group.z, t, head);
            var score = 0.0;
            var rise = 0.0;
            for (var i = 0u; i < PIECES; i += 1u) {
                score += piece_dot(&k, i, qkv[query + piece(i, lane)]);
                rise += piece_dot(&v, i, grad_out[row + piece(i, lane)]);
            }
            let weight = select(0.0, exp(score - lse[state]), j <= t);
            let slope = weight * (rise - delta[state]) * p.scale;
            for (var i = 0u; i < PIECES; i += 1u) {
                piece_add(&grad_v, i, weight, grad_out[row + piece(i, lane)]);
                piece_add(&grad_k, i, slope, qkv[query + piece(i, lane)]);
            }
        }
    }
    if (wanted >= p.context) {
        return;
    }
    for (var c = 0u; c < D4; c += 1u) {
        grad_qkv[key + c] = grad_k[c];
        grad_qkv[value + c] = grad_v[c];
    }
}
