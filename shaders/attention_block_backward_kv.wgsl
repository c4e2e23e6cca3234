// attention_block_backward_kv: what attention_backward_kv computes, by blocks: a workgroup takes ROWS keys and loops over
// the queries that see them, COLUMNS at a time. SEGMENTS, the grid over blocks of keys, key-value heads and batch, and
// overwriting as there.
// @include "lib/attention_block.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<element>;
@group(0) @binding(1) var<storage, read> grad_out: array<element>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> grad_qkv: array<element>;

// The weights stay in workgroup memory while the rises of the scores are computed, since lanes have no registers for both.
const KEPT: bool = true;

fn source(which: u32, index: u32) -> vec4<f32> {
    if (which == QKV) {
        return vec4<f32>(qkv[index]);
    }
    return vec4<f32>(grad_out[index]);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let z = group.z;
    let first = group.x * ROWS;
    let kv = group.y;
    let shared_by = p.heads / p.kv_heads;
    let r = lane / GROUPS;
    let c = lane % GROUPS;
    let key = Side(QKV, p.heads + kv, first);
    let value = Side(QKV, p.heads + p.kv_heads + kv, first);
    var grad_k = Sums();
    var grad_v = Sums();
    for (var head = kv * shared_by; head < (kv + 1u) * shared_by; head += 1u) {
        for (var t = first; t < p.context; t += COLUMNS) {
            if (SEGMENTS && start_of(z, t) >= first + ROWS) {
                break; // Starts never decrease, so no later query sees a key of this workgroup.
            }
            let query = Side(QKV, head, t);
            let gradient = Side(GRAD, head, t);
            var scores = Scores();
            multiply(z, key, query, lane, &scores);
            workgroupBarrier();
            for (var i = 0u; i < PER_LANE; i += 1u) {
                let at = t + column_of(i, c);
                let row = min(at, p.context - 1u);
                let weight = exp(scores[i] * p.scale - lse[state_at(z, row, head)]);
                let used = seen_by(at, start_of(z, row), four_from(first + 4u * r)) & vec4<bool>(at < p.context);
                memory[weight_at(i, r, c)] = select(vec4<f32>(), weight, used);
            }
            accumulate(z, gradient, p.context, lane, &grad_v);
            var rises = Scores();
            multiply(z, value, gradient, lane, &rises);
            workgroupBarrier();
            for (var i = 0u; i < PER_LANE; i += 1u) {
                let row = min(t + column_of(i, c), p.context - 1u);
                memory[weight_at(i, r, c)] *= rises[i] - delta[state_at(z, row, head)];
            }
            accumulate(z, query, p.context, lane, &grad_k);
        }
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let j = first + 4u * r + i;
        if (j < p.context) {
            let key_row = qkv_at(z, j, p.heads + kv);
            let value_row = qkv_at(z, j, p.heads + p.kv_heads + kv);
            for (var v = 0u; v < VECTORS; v += 1u) {
                let column = v * GROUPS + c;
                if (column < D4) {
                    grad_qkv[key_row + column] = element(grad_k[4u * v + i] * p.scale);
                    grad_qkv[value_row + column] = element(grad_v[4u * v + i]);
                }
            }
        }
    }
}
