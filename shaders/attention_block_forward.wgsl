// attention_block_forward: what attention_forward computes, by blocks: a workgroup takes ROWS queries and rescales their
// sums once for every COLUMNS keys. SEGMENTS, the grid over blocks of queries, heads and batch, and overwriting as there.
// @include "lib/attention_block.wgsl"
@group(0) @binding(0) var<storage, read> qkv: array<element>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<element>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;

const KEPT: bool = false;

fn source(which: u32, index: u32) -> vec4<f32> {
    return vec4<f32>(qkv[index]);
}

// What the lanes that share rows have found: the greatest scores of each row, and in the end the sums of its weights.
var<workgroup> found: array<vec4<f32>, WORKGROUP>;

// The score of a key that a query does not see. The greatest score begins far above it, so that the weight is exp(-inf).
const UNSEEN: f32 = -1e30;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let z = group.z;
    let first = group.x * ROWS;
    let kv = group.y / (p.heads / p.kv_heads);
    let r = lane / GROUPS;
    let c = lane % GROUPS;
    let query = Side(QKV, group.y, first);
    let end = min(first + ROWS, p.context);
    var sums = Sums();
    var greatest = vec4<f32>(UNSEEN * 0.01);
    var total = vec4<f32>(); // over this lane's columns
    for (var j = start_of(z, first) / COLUMNS * COLUMNS; j < end; j += COLUMNS) {
        var scores = Scores();
        multiply(z, query, Side(QKV, p.heads + kv, j), lane, &scores);
        let t = four_from(first + 4u * r);
        let begins = starts_of(z, inside(t));
        var higher = greatest;
        for (var i = 0u; i < PER_LANE; i += 1u) {
            scores[i] = select(vec4<f32>(UNSEEN), scores[i] * p.scale, seen(t, begins, j + column_of(i, c)));
            higher = max(higher, scores[i]);
        }
        found[c * ROWS4 + r] = higher;
        workgroupBarrier();
        for (var i = 0u; i < GROUPS; i += 1u) {
            higher = max(higher, found[i * ROWS4 + r]);
        }
        let shrink = exp(greatest - higher);
        greatest = higher;
        total *= shrink;
        for (var i = 0u; i < PER_LANE; i += 1u) {
            let weight = exp(scores[i] - greatest);
            total += weight;
            memory[weight_at(i, r, c)] = weight;
        }
        for (var v = 0u; v < VECTORS; v += 1u) {
            sums[4u * v] *= shrink.x;
            sums[4u * v + 1u] *= shrink.y;
            sums[4u * v + 2u] *= shrink.z;
            sums[4u * v + 3u] *= shrink.w;
        }
        accumulate(z, Side(QKV, p.heads + p.kv_heads + kv, j), end, lane, &sums);
    }
    found[c * ROWS4 + r] = total;
    workgroupBarrier();
    total = vec4<f32>();
    for (var i = 0u; i < GROUPS; i += 1u) {
        total += found[i * ROWS4 + r];
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let t = first + 4u * r + i;
        if (t < p.context) {
            let row = out_at(z, t, group.y);
            for (var v = 0u; v < VECTORS; v += 1u) {
                let column = v * GROUPS + c;
                if (column < D4) {
                    out[row + column] = element(sums[4u * v + i] / total[i]);
                }
            }
            if (c == 0u) {
                lse[state_at(z, t, group.y)] = greatest[i] + log(total[i]);
            }
        }
    }
}
