// attention_map: attention probabilities. out[head, t, j] = softmax over j <= t of scale * q[t] . k[j], 0 for j > t, from
// rotated qkv[context, (heads + 2 kv_heads) * D]; out[heads, context, context]. One workgroup per query and head; a lane
// takes every LANES-th key, and reads back only what it wrote itself. Grid: x context, y heads. Overwrites.
const D: u32 = 64u;
const LANES: u32 = 32u;
const COLUMNS: u32 = D / 4u;
const LOWEST: f32 = -3.4e38;

struct Params { context: u32, heads: u32, kv_heads: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

var<workgroup> shared_by_lane: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.x;
    let head = group.y;
    let row = (p.heads + 2u * p.kv_heads) * COLUMNS;
    let query = t * row + head * COLUMNS;
    let keys = (p.heads + head / (p.heads / p.kv_heads)) * COLUMNS;
    let target_row = (head * p.context + t) * p.context;
    var greatest = LOWEST;
    for (var j = lane; j <= t; j += LANES) {
        var score = vec4<f32>();
        for (var c = 0u; c < COLUMNS; c += 1u) {
            score = fma(qkv[query + c], qkv[j * row + keys + c], score);
        }
        let sum = p.scale * ((score.x + score.y) + (score.z + score.w));
        out[target_row + j] = sum;
        greatest = max(greatest, sum);
    }
    shared_by_lane[lane] = greatest;
    workgroupBarrier();
    for (var l = 0u; l < LANES; l += 1u) {
        greatest = max(greatest, shared_by_lane[l]);
    }
    workgroupBarrier();
    var total = 0.0;
    for (var j = lane; j <= t; j += LANES) {
        let weight = exp(out[target_row + j] - greatest);
        out[target_row + j] = weight;
        total += weight;
    }
    shared_by_lane[lane] = total;
    workgroupBarrier();
    var all = 0.0;
    for (var l = 0u; l < LANES; l += 1u) {
        all += shared_by_lane[l];
    }
    for (var j = lane; j < p.context; j += LANES) {
        if (j <= t) {
            out[target_row + j] /= all;
        } else {
            out[target_row + j] = 0.0;
        }
    }
}
