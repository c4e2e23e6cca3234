// attention_backward_kv: the gradients of keys and values by recomputation. Over the queries t >= j of all query heads
// of the group, dv = sum w grad_out and dk = scale * sum w (grad_out.v - delta) q, with w = exp(scale * q.k - lse).
// Writes the key and value columns of grad_qkv, QUERIES key rows per invocation. Grid: x over keys, y over key-value
// heads, z over the batch. SEGMENTS: a query uses key j if starts[batch, context] says so. Overwrites those columns.
// @include "lib/attention.wgsl"
// @include "lib/attention_segments.wgsl"
// @include rows = "lib/attention_plain.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<element>;
@group(0) @binding(1) var<storage, read> grad_out: array<element>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> grad_qkv: array<element>;

// The sources for the rows library: the queries and the gradients of the output.
fn source_a(index: u32) -> vec4<f32> {
    return vec4<f32>(qkv[index]);
}

fn source_b(index: u32) -> vec4<f32> {
    return vec4<f32>(grad_out[index]);
}

fn row_a(z: u32, t: u32, head: u32) -> u32 {
    return qkv_at(z, t, head);
}

fn row_b(z: u32, t: u32, head: u32) -> u32 {
    return out_at(z, t, head);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * WORKGROUP * QUERIES + lane;
    let kv = group.y;
    let shared_by = p.heads / p.kv_heads;
    var k: Rows;
    var v: Rows;
    var grad_k: Rows;
    var grad_v: Rows;
    for (var r = 0u; r < QUERIES; r += 1u) {
        let j = min(first + r * WORKGROUP, p.context - 1u);
        let key = qkv_at(group.z, j, p.heads + kv);
        let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
        for (var c = 0u; c < D4; c += 1u) {
            k[r * STRIDE + c] = vec4<f32>(qkv[key + c]) * p.scale;
            v[r * STRIDE + c] = vec4<f32>(qkv[value + c]);
        }
    }
    for (var head = kv * shared_by; head < (kv + 1u) * shared_by; head += 1u) {
        // All lanes start at the workgroup's first key; queries before a lane's own key get weight 0.
        for (var t = group.x * WORKGROUP * QUERIES; t < p.context; t += 1u) {
            let begin = start_of(group.z, t);
            if (SEGMENTS && begin >= (group.x + 1u) * WORKGROUP * QUERIES) {
                break; // Starts never decrease, so no later query sees a key of this workgroup.
            }
            stage(group.z, t, head, lane);
            let query = row_a(group.z, t, head);
            let row = row_b(group.z, t, head);
            let state = state_at(group.z, t, head);
            var scores = Sums();
            var rises = Sums();
            var queries = array<vec4<f32>, PIECES>();
            var gradients = array<vec4<f32>, PIECES>();
            for (var i = 0u; i < PIECES; i += 1u) {
                queries[i] = piece_of_a(query, t, i, lane);
                gradients[i] = piece_of_b(row, t, i, lane);
                piece_dot(&k, i, queries[i], &scores);
                piece_dot(&v, i, gradients[i], &rises);
            }
            let row_lse = lse[state];
            let row_delta = delta[state];
            var weights = array<f32, QUERIES>();
            var slopes = array<f32, QUERIES>();
            for (var r = 0u; r < QUERIES; r += 1u) {
                weights[r] = select(0.0, exp(total_of(scores[r]) - row_lse), sees(t, begin, first + r * WORKGROUP));
                slopes[r] = weights[r] * (total_of(rises[r]) - row_delta) * p.scale;
            }
            for (var i = 0u; i < PIECES; i += 1u) {
                piece_add(&grad_v, i, weights, gradients[i]);
                piece_add(&grad_k, i, slopes, queries[i]);
            }
        }
    }
    for (var r = 0u; r < QUERIES; r += 1u) {
        let j = first + r * WORKGROUP;
        if (j < p.context) {
            let key = qkv_at(group.z, j, p.heads + kv);
            let value = qkv_at(group.z, j, p.heads + p.kv_heads + kv);
            for (var c = 0u; c < D4; c += 1u) {
                grad_qkv[key + c] = element(grad_k[r * STRIDE + c]);
                grad_qkv[value + c] = element(grad_v[r * STRIDE + c]);
            }
        }
    }
}
