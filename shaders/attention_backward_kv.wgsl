// attention_backward_kv: the gradients of keys and values by recomputation. Over the queries i >= j of all query heads
// of the group, dv = sum w grad_out and dk = scale * sum w (grad_out.v - delta) q, with w = exp(scale * q.k - lse).
// Writes the key and value columns of grad_qkv, one key row per invocation. Grid: x over keys, y over key-value heads,
// z over the batch. Overwrites those columns.
// @include "lib/attention.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> grad_out: array<f32>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> grad_qkv: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = group.x * WORKGROUP + lane;
    let kv = group.y;
    if (j >= p.context) {
        return;
    }
    let key = qkv_at(group.z, j, p.heads + kv);
    let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
    let shared_by = p.heads / p.kv_heads;
    var k: array<f32, D>;
    var v: array<f32, D>;
    var grad_k: array<f32, D>;
    var grad_v: array<f32, D>;
    for (var c = 0u; c < D; c += 1u) {
        k[c] = qkv[key + c] * p.scale;
        v[c] = qkv[value + c];
        grad_k[c] = 0.0;
        grad_v[c] = 0.0;
    }
    for (var head = kv * shared_by; head < (kv + 1u) * shared_by; head += 1u) {
        for (var t = j; t < p.context; t += 1u) {
            let query = qkv_at(group.z, t, head);
            let row = out_at(group.z, t, head);
            let state = (group.z * p.heads + head) * p.context + t;
            var score = 0.0;
            var rise = 0.0;
            for (var c = 0u; c < D; c += 1u) {
                score = fma(k[c], qkv[query + c], score);
                rise = fma(v[c], grad_out[row + c], rise);
            }
            let weight = exp(score - lse[state]);
            let slope = weight * (rise - delta[state]) * p.scale;
            for (var c = 0u; c < D; c += 1u) {
                grad_v[c] = fma(weight, grad_out[row + c], grad_v[c]);
                grad_k[c] = fma(slope, qkv[query + c], grad_k[c]);
            }
        }
    }
    for (var c = 0u; c < D; c += 1u) {
        grad_qkv[key + c] = grad_k[c];
        grad_qkv[value + c] = grad_v[c];
    }
}
