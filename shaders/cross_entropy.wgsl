// cross_entropy: one chunk of the vocabulary of a chunked cross entropy. logits[rows, width] are the scores of the ids
// first..first + width, x = scale * logits. stats[rows, 4] = (running max m, running sum of exp(x - m), target's x,
// loss), where loss = m + log(sum) - target's x over the chunks so far, 0 for the ignored target 0xffffffff. With
// ENTROPY the last column is the running sum of exp(x - m) (x - m) instead. The chunk with first = 0 overwrites stats,
// later ones update it.
// @include "lib/rows.wgsl"
const ENTROPY: bool = false;
struct Params { rows: u32, width: u32, first: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let wanted = row_of(group, groups, local);
    let row = min(wanted, p.rows - 1u);
    let writes = wanted < p.rows;
    let lane = local % LANES;
    let base = row * p.width;
    var greatest = logits[base];
    for (var c = lane; c < p.width; c += LANES) {
        greatest = max(greatest, logits[base + c]);
    }
    greatest = p.scale * row_max(greatest, local);
    var sum = 0.0;
    var spread = 0.0;
    for (var c = lane; c < p.width; c += LANES) {
        let below = p.scale * logits[base + c] - greatest;
        let share = exp(below);
        sum += share;
        if (ENTROPY) {
            spread += share * below;
        }
    }
    sum = row_sum(sum, local);
    if (ENTROPY) {
        spread = row_sum(spread, local);
    }
    if (!writes || lane != 0u) {
        return;
    }
    var hit = 0.0;
    if (p.first != 0u) {
        let before = stats[row];
        let joint = max(before.x, greatest);
        let old_share = exp(before.x - joint);
        let new_share = exp(greatest - joint);
        // A sum of exp(x - m) (x - m) meets another m as a share of itself and a multiple of the plain sum.
        spread = old_share * (before.w + (before.x - joint) * before.y)
            + new_share * (spread + (greatest - joint) * sum);
        sum = before.y * old_share + sum * new_share;
        greatest = joint;
        hit = before.z;
    }
    let goal = targets[row];
    let ignored = goal == 0xffffffffu;
    if (!ignored && goal >= p.first && goal - p.first < p.width) {
        hit = p.scale * logits[base + goal - p.first];
    }
    let loss = select(greatest + log(sum) - hit, 0.0, ignored);
    stats[row] = vec4<f32>(greatest, sum, hit, select(loss, spread, ENTROPY));
}
