// softmax: out[rows, width] = exp(x - max) / sum(exp(x - max)) of each row; overwrites. Maximum and sum take one pass.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
// The maximum over nothing: below every score except -inf, and finite so that exp(x - LOWEST) is 0, not NaN, if x is -inf.
const LOWEST: f32 = -3.4028234e38;
struct Params { rows: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<wide>;
@group(0) @binding(1) var<storage, read_write> out: array<wide>;

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
    for (var c = lane; c < columns; c += LANES) {
        let value = x[base + c];
        let higher = max(top, greatest(value));
        sums = sums * exp(top - higher) + exp(value - higher);
        top = higher;
    }
    let highest = row_max(top, local);
    let inverse = 1.0 / row_sum(total(sums) * exp(top - highest), local);
    if (!writes) {
        return;
    }
    for (var c = lane; c < columns; c += LANES) {
        out[base + c] = exp(x[base + c] - highest) * inverse;
    }
}
