// attention_forward: causal attention by online softmax (Milakov and Gimelshein 2018; Dao et al. 2022), QUERIES query
// rows per invocation. out[batch, context, heads * D] = softmax(scale * q k^T, keys <= query) v;
// lse[batch, heads, context] is the log of the softmax's denominator. SEGMENTS: query t sees only the keys from
// starts[batch, context] on. Grid: x over queries, y over heads, z over the batch. Overwrites.
// @include "lib/attention.wgsl"
// @include "lib/attention_segments.wgsl"
// @include "lib/attention_keys.wgsl"
// @include rows = "lib/attention_plain.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<element>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<element>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * WORKGROUP * QUERIES + lane;
    let head = group.y;
    let kv = head / (p.heads / p.kv_heads);
    var q: Rows;
    var sums: Rows;
    var greatest: array<f32, QUERIES>;
    var total: array<f32, QUERIES>;
    var begins: array<u32, QUERIES>;
    for (var r = 0u; r < QUERIES; r += 1u) {
        let row = min(first + r * WORKGROUP, p.context - 1u);
        let query = qkv_at(group.z, row, head);
        begins[r] = start_of(group.z, row);
        for (var c = 0u; c < D4; c += 1u) {
            q[r * STRIDE + c] = vec4<f32>(qkv[query + c]) * p.scale;
        }
        greatest[r] = -3.4e38;
    }
    // All lanes of a workgroup run the same loop; keys that a lane's own query does not see get weight 0.
    let end = min((group.x + 1u) * WORKGROUP * QUERIES, p.context);
    for (var j = start_of(group.z, group.x * WORKGROUP * QUERIES) / STEP * STEP; j < end; j += 1u) {
        stage(group.z, j, kv, lane);
        let key = row_a(group.z, j, kv);
        let value = row_b(group.z, j, kv);
        var scores = Sums();
        for (var i = 0u; i < PIECES; i += 1u) {
            piece_dot(&q, i, piece_of_a(key, j, i, lane), &scores);
        }
        var weights = array<f32, QUERIES>();
        for (var r = 0u; r < QUERIES; r += 1u) {
            let seen = sees(first + r * WORKGROUP, begins[r], j);
            let score = select(-3.4e38, total_of(scores[r]), seen);
            let higher = max(greatest[r], score);
            let shrink = exp(greatest[r] - higher);
            weights[r] = select(0.0, exp(score - higher), seen);
            greatest[r] = higher;
            total[r] = fma(total[r], shrink, weights[r]);
            for (var c = 0u; c < D4; c += 1u) {
                sums[r * STRIDE + c] *= shrink;
            }
        }
        for (var i = 0u; i < PIECES; i += 1u) {
            piece_add(&sums, i, weights, piece_of_b(value, j, i, lane));
        }
    }
    for (var r = 0u; r < QUERIES; r += 1u) {
        let t = first + r * WORKGROUP;
        if (t < p.context) {
            let row = out_at(group.z, t, head);
            for (var c = 0u; c < D4; c += 1u) {
                out[row + c] = element(sums[r * STRIDE + c] / total[r]);
            }
            lse[state_at(group.z, t, head)] = greatest[r] + log(total[r]);
        }
    }
}
