// cross_entropy_backward: turns one chunk of logits[rows, width] (ids first..first + width) into their gradient in
// place: (exp(x - max) / sum - [id is the target]) * factor (BY_ROW: * slopes[row]) with x = scale * logits, 0 in rows
// whose target is ignored (0xffffffff). stats are cross_entropy's after the last chunk. A mean loss has factor = scale
// / number of targets; the gradient of log-probabilities by row has factor = -scale. count = rows * width.
// @include "lib/index.wgsl"
const BY_ROW: bool = false;
struct Params { count: u32, width: u32, first: u32, scale: f32, factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> targets: array<u32>;
@group(0) @binding(1) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> slopes: array<f32>;
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.count) {
        return;
    }
    let row = i / p.width;
    let goal = targets[row];
    let known = stats[row];
    let probability = exp(p.scale * logits[i] - known.x) / known.y;
    let hit = select(0.0, 1.0, goal == p.first + i % p.width);
    var factor = p.factor;
    if (BY_ROW) {
        factor *= slopes[row];
    }
    logits[i] = select((probability - hit) * factor, 0.0, goal == 0xffffffffu);
}
