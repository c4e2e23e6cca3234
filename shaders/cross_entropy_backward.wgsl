// cross_entropy_backward: turns one chunk of logits[rows, width] (ids first..first + width) into their gradient in
// place: (exp(x - max) / sum - [id is the target]) * factor (BY_ROW: * slopes[row]) with x = scale * logits, 0 in rows
// whose target is ignored (0xffffffff). stats are from cross_entropy after the last chunk. For a mean loss, factor =
// scale / number of targets; for the gradient of log-probabilities by row, factor = -scale.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
const BY_ROW: bool = false;
alias logit = wide;
struct Params { rows: u32, width: u32, first: u32, scale: f32, factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> targets: array<u32>;
@group(0) @binding(1) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> slopes: array<f32>;
@group(0) @binding(3) var<storage, read_write> logits: array<logit>;

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local);
    if (row >= p.rows) {
        return;
    }
    let lane = local % LANES;
    let columns = p.width / EACH;
    let base = row * columns;
    let goal = targets[row];
    let known = stats[row];
    let ignored = goal == 0xffffffffu;
    var factor = p.factor;
    if (BY_ROW) {
        factor *= slopes[row];
    }
    let inverse = 1.0 / known.y;
    // The target's column, if it is in this chunk and this lane's, is written separately to keep the loop free of tests.
    let at = goal - p.first;
    let mine = !ignored && goal >= p.first && at < p.width && at / EACH % LANES == lane;
    let target_at = base + select(0u, at / EACH, mine);
    var target_logits = wide();
    if (mine) {
        target_logits = wide(logits[target_at]);
    }
    for (var c = lane; c < columns; c += LANES) {
        let probability = exp(p.scale * wide(logits[base + c]) - known.x) * inverse;
        logits[base + c] = logit(select(probability * factor, wide(), ignored));
    }
    if (mine) {
        let probability = exp(p.scale * target_logits - known.x) * inverse;
        logits[target_at] = logit((probability - one_hot(at % EACH)) * factor);
    }
}
