// attention_backward_q: the gradient of the queries by recomputation. With w = exp(scale * q.k - lse),
// dq = scale * sum over keys of w (grad_out.v - delta) k. Writes the query columns of grad_qkv (laid out as qkv), QUERIES
// query rows per invocation; SEGMENTS and grid as in attention_forward. Overwrites those columns.
// @include "lib/attention.wgsl"
// @include "lib/attention_segments.wgsl"
// @include "lib/attention_keys.wgsl"
// @include rows = "lib/attention_plain.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<element>;
@group(0) @binding(1) var<storage, read> grad_out: array<element>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> grad_qkv: array<element>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * WORKGROUP * QUERIES + lane;
    let head = group.y;
    let kv = head / (p.heads / p.kv_heads);
    var q: Rows;
    var g: Rows;
    var sums: Rows;
    var row_lse: array<f32, QUERIES>;
    var row_delta: array<f32, QUERIES>;
    var begins: array<u32, QUERIES>;
    for (var r = 0u; r < QUERIES; r += 1u) {
        let t = min(first + r * WORKGROUP, p.context - 1u);
        let query = qkv_at(group.z, t, head);
        let row = out_at(group.z, t, head);
        begins[r] = start_of(group.z, t);
        row_lse[r] = lse[state_at(group.z, t, head)];
        row_delta[r] = delta[state_at(group.z, t, head)];
        for (var c = 0u; c < D4; c += 1u) {
            q[r * STRIDE + c] = vec4<f32>(qkv[query + c]) * p.scale;
            g[r * STRIDE + c] = vec4<f32>(grad_out[row + c]);
        }
    }
    let end = min((group.x + 1u) * WORKGROUP * QUERIES, p.context);
    for (var j = start_of(group.z, group.x * WORKGROUP * QUERIES) / STEP * STEP; j < end; j += 1u) {
        stage(group.z, j, kv, lane);
        let key = row_a(group.z, j, kv);
        let value = row_b(group.z, j, kv);
        var scores = Sums();
        var rises = Sums();
        var keys = array<vec4<f32>, PIECES>();
        for (var i = 0u; i < PIECES; i += 1u) {
            keys[i] = piece_of_a(key, j, i, lane);
            piece_dot(&q, i, keys[i], &scores);
            piece_dot(&g, i, piece_of_b(value, j, i, lane), &rises);
        }
        var slopes = array<f32, QUERIES>();
        for (var r = 0u; r < QUERIES; r += 1u) {
            let slope = exp(total_of(scores[r]) - row_lse[r]) * (total_of(rises[r]) - row_delta[r]) * p.scale;
            slopes[r] = select(0.0, slope, sees(first + r * WORKGROUP, begins[r], j));
        }
        for (var i = 0u; i < PIECES; i += 1u) {
            piece_add(&sums, i, slopes, keys[i]);
        }
    }
    for (var r = 0u; r < QUERIES; r += 1u) {
        let t = first + r * WORKGROUP;
        if (t < p.context) {
            let query = qkv_at(group.z, t, head);
            for (var c = 0u; c < D4; c += 1u) {
                grad_qkv[query + c] = element(sums[r * STRIDE + c]);
            }
        }
    }
}
