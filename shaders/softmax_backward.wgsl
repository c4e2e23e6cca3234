// softmax_backward: grad_x[rows, width] = y * (grad_out - sum(grad_out * y)), where y is softmax's output; overwrites.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
struct Params { rows: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> y: array<wide>;
@group(0) @binding(1) var<storage, read> grad_out: array<wide>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<wide>;

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
    var sum = wide();
    for (var c = lane; c < columns; c += LANES) {
        sum = fma(grad_out[base + c], y[base + c], sum);
    }
    let dot = row_sum(total(sum), local);
    if (!writes) {
        return;
    }
    for (var c = lane; c < columns; c += LANES) {
        grad_x[base + c] = y[base + c] * (grad_out[base + c] - dot);
    }
}
