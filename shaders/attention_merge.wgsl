// attention_merge: joins the results of attention_decode or attention_paged for `splits` ranges of positions:
// parts[heads of all rows, splits, D/4 + 1] vectors hold sums, then (greatest score, sum of weights).
// out[heads of all rows, D]. One invocation per vector of four columns, count of them. Overwrites.
// @include "lib/index.wgsl"
const D: u32 = 64u;
struct Params { count: u32, splits: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

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
    let column = i % (D / 4u);
    let head = i / (D / 4u);
    var greatest = -3.4e38;
    for (var s = 0u; s < p.splits; s += 1u) {
        greatest = max(greatest, parts[(head * p.splits + s) * (D / 4u + 1u) + D / 4u].x);
    }
    var sum = vec4<f32>();
    var total = 0.0;
    for (var s = 0u; s < p.splits; s += 1u) {
        let at = (head * p.splits + s) * (D / 4u + 1u);
        let state = parts[at + D / 4u];
        let weight = exp(state.x - greatest);
        total = fma(weight, state.y, total);
        sum = fma(vec4<f32>(weight), parts[at + column], sum);
    }
    out[i] = select(sum / total, vec4<f32>(), total == 0.0);
}
