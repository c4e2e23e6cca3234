// softmax: out[rows, width] = exp(x - max) / sum(exp(x - max)) by row; overwrites.
// @include "lib/rows.wgsl"
struct Params { rows: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

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
    var greatest = x[base];
    for (var c = lane; c < p.width; c += LANES) {
        greatest = max(greatest, x[base + c]);
    }
    greatest = row_max(greatest, local);
    var sum = 0.0;
    for (var c = lane; c < p.width; c += LANES) {
        sum += exp(x[base + c] - greatest);
    }
    let inverse = 1.0 / row_sum(sum, local);
    if (!writes) {
        return;
    }
    for (var c = lane; c < p.width; c += LANES) {
        out[base + c] = exp(x[base + c] - greatest) * inverse;
    }
}
