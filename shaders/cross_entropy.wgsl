// cross_entropy: one chunk of the vocabulary of a chunked cross entropy. logits[rows, width] are the scores of the ids
// first..first + width, x = scale * logits. stats[rows, 4] = (running max m, running sum of exp(x - m), target's x,
// loss), where loss = m + log(sum) - target's x over the chunks so far, 0 for the ignored target 0xffffffff. With
// ENTROPY the last column is the running sum of exp(x - m) (x - m) instead. The chunk with first = 0 overwrites stats,
// later ones update it. Every logit is read once: maximum and sums are computed in one pass.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
const ENTROPY: bool = false;
// The maximum over nothing: below every score except -inf, and finite so that exp(x - LOWEST) is 0, not NaN, if x is -inf.
const LOWEST: f32 = -3.4028234e38;
alias logit = wide;
struct Params { rows: u32, width: u32, first: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> logits: array<logit>;
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
    let columns = p.width / EACH;
    let base = row * columns;
    var top = LOWEST;
    var sums = wide();
    var spreads = wide();
    for (var c = lane; c < columns; c += LANES) {
        let value = p.scale * wide(logits[base + c]);
        let higher = max(top, greatest(value));
        let shrink = exp(top - higher);
        let below = value - higher;
        let share = exp(below);
        if (ENTROPY) {
            // Changing m turns the sum of exp(x - m) (x - m) into a multiple of itself plus a multiple of the plain sum.
            spreads = shrink * (spreads + (top - higher) * sums) + share * below;
        }
        sums = shrink * sums + share;
        top = higher;
    }
    var highest = row_max(top, local);
    let shrink = exp(top - highest);
    var sum = row_sum(shrink * total(sums), local);
    var spread = 0.0;
    if (ENTROPY) {
        spread = row_sum(shrink * (total(spreads) + (top - highest) * total(sums)), local);
    }
    if (!writes || lane != 0u) {
        return;
    }
    var hit = 0.0;
    if (p.first != 0u) {
        let before = stats[row];
        let joint = max(before.x, highest);
        let old_share = exp(before.x - joint);
        let new_share = exp(highest - joint);
        spread = old_share * (before.w + (before.x - joint) * before.y)
            + new_share * (spread + (highest - joint) * sum);
        sum = before.y * old_share + sum * new_share;
        highest = joint;
        hit = before.z;
    }
    let goal = targets[row];
    let ignored = goal == 0xffffffffu;
    if (!ignored && goal >= p.first && goal - p.first < p.width) {
        let at = goal - p.first;
        hit = p.scale * pick(wide(logits[base + at / EACH]), at % EACH);
    }
    let loss = select(highest + log(sum) - hit, 0.0, ignored);
    stats[row] = vec4<f32>(highest, sum, hit, select(loss, spread, ENTROPY));
}
