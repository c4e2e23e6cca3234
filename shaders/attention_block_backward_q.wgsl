// attention_block_backward_q: what attention_backward_q computes, by blocks: a workgroup takes ROWS queries and loops over
// their keys, COLUMNS at a time. SEGMENTS, the grid over blocks of queries, heads and batch, and overwriting as there.
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
    let kv = group.y / (p.heads / p.kv_heads);
    let r = lane / GROUPS;
    let c = lane % GROUPS;
    let query = Side(QKV, group.y, first);
    let gradient = Side(GRAD, group.y, first);
    let end = min(first + ROWS, p.context);
    var sums = Sums();
    for (var j = start_of(z, first) / COLUMNS * COLUMNS; j < end; j += COLUMNS) {
        let key = Side(QKV, p.heads + kv, j);
        let value = Side(QKV, p.heads + p.kv_heads + kv, j);
        var scores = Scores();
        multiply(z, query, key, lane, &scores);
        {
            let t = four_from(first + 4u * r);
            let begins = starts_of(z, inside(t));
            let state = inside(t) + state_at(z, 0u, group.y);
            let row_lse = vec4<f32>(lse[state.x], lse[state.y], lse[state.z], lse[state.w]);
            for (var i = 0u; i < PER_LANE; i += 1u) {
                let weight = exp(scores[i] * p.scale - row_lse);
                memory[weight_at(i, r, c)] = select(vec4<f32>(), weight, seen(t, begins, j + column_of(i, c)));
            }
        }
        var rises = Scores();
        multiply(z, gradient, value, lane, &rises);
        workgroupBarrier();
        {
            let state = inside(four_from(first + 4u * r)) + state_at(z, 0u, group.y);
            let row_delta = vec4<f32>(delta[state.x], delta[state.y], delta[state.z], delta[state.w]);
            for (var i = 0u; i < PER_LANE; i += 1u) {
                memory[weight_at(i, r, c)] *= rises[i] - row_delta;
            }
        }
        accumulate(z, key, end, lane, &sums);
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let t = first + 4u * r + i;
        if (t < p.context) {
            let row = qkv_at(z, t, group.y);
            for (var v = 0u; v < VECTORS; v += 1u) {
                let column = v * GROUPS + c;
                if (column < D4) {
                    grad_qkv[row + column] = element(sums[4u * v + i] * p.scale);
                }
            }
        }
    }
}
