// weighted_row_sum: out[row] = sum over columns of weights[row, c] * x[row, c], for x[rows, width]; elements of weight
// 0 may hold anything. Overwrites; the order of additions depends on width only.
// @include "lib/rows.wgsl"
struct Params { rows: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let wanted = row_of(group, groups, local);
    let base = min(wanted, p.rows - 1u) * p.width;
    let lane = local % LANES;
    var sum = 0.0;
    for (var c = lane; c < p.width; c += LANES) {
        let weight = weights[base + c];
        sum += select(0.0, weight * x[base + c], weight != 0.0);
    }
    sum = row_sum(sum, local);
    if (wanted < p.rows && lane == 0u) {
        out[wanted] = sum;
    }
}
