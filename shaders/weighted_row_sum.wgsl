// weighted_row_sum: out[row] = sum over columns of weights[row, c] * x[row, c], for x[rows, width]; elements with weight
// 0 may hold anything. Overwrites; the order of additions depends on width only.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
struct Params { rows: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<wide>;
@group(0) @binding(1) var<storage, read> weights: array<wide>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let wanted = row_of(group, groups, local);
    let columns = p.width / EACH;
    let base = min(wanted, p.rows - 1u) * columns;
    let lane = local % LANES;
    var sums = wide();
    for (var c = lane; c < columns; c += LANES) {
        let weight = weights[base + c];
        sums += select(wide(), weight * x[base + c], weight != wide());
    }
    let sum = row_sum(total(sums), local);
    if (wanted < p.rows && lane == 0u) {
        out[wanted] = sum;
    }
}
