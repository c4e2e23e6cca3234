// pair_loss: log-sigmoid loss of pairs (chosen, rejected), for reward models and DPO. gap = beta * ((x[0] -
// reference[0]) - (x[1] - reference[1])), the references only with REFERENCE; loss = -log sigmoid(gap - margins
// (MARGINS)) + centring * (x[0] + x[1])^2. terms[pairs, 5] = factor * (loss, gap, [gap > 0], beta * (x - reference) of
// both); slopes[pairs, 2] = factor * d loss / d x. count = pairs. Overwrites.
// @include "lib/index.wgsl"
const REFERENCE: bool = false;
const MARGINS: bool = false;
struct Params { count: u32, beta: f32, centring: f32, factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> reference: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> margins: array<f32>;
@group(0) @binding(3) var<storage, read_write> terms: array<f32>;
@group(0) @binding(4) var<storage, read_write> slopes: array<vec2<f32>>;

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
    let pair = x[i];
    var reward = p.beta * pair;
    if (REFERENCE) {
        reward = p.beta * (pair - reference[i]);
    }
    let gap = reward.x - reward.y;
    var z = gap;
    if (MARGINS) {
        z -= margins[i];
    }
    // -log sigmoid(z) = max(-z, 0) + log(1 + exp(-|z|)), which takes no exponential of a large number.
    let small = exp(-abs(z));
    let both = pair.x + pair.y;
    let loss = max(-z, 0.0) + log(1.0 + small) + p.centring * both * both;
    let wrong = select(1.0, small, z > 0.0) / (1.0 + small);
    terms[5u * i] = p.factor * loss;
    terms[5u * i + 1u] = p.factor * gap;
    terms[5u * i + 2u] = p.factor * select(0.0, 1.0, gap > 0.0);
    terms[5u * i + 3u] = p.factor * reward.x;
    terms[5u * i + 4u] = p.factor * reward.y;
    slopes[i] = p.factor * (p.beta * vec2<f32>(-wrong, wrong) + 2.0 * p.centring * vec2<f32>(both));
}
