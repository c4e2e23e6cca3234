// norm_backward: the gradient of norm with respect to x. With g = grad_out * weight and h = (x - mean) * rstd,
// grad_x = rstd * (g - mean(g) [CENTER only] - h * mean(g * h)), or += when accumulate is set. [rows, width].
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
const CENTER: bool = true;
alias grad_out_element = wide;
struct Params { rows: u32, width: u32, accumulate: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<wide>;
@group(0) @binding(1) var<storage, read> weight: array<wide>;
@group(0) @binding(2) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> grad_out: array<grad_out_element>;
@group(0) @binding(4) var<storage, read_write> grad_x: array<wide>;

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
    let mean = stats[row].x;
    let rstd = stats[row].y;
    var sum_g = wide();
    var sum_gh = wide();
    for (var c = lane; c < columns; c += LANES) {
        let g = wide(grad_out[base + c]) * weight[c];
        sum_g += g;
        sum_gh = fma(g, (x[base + c] - mean) * rstd, sum_gh);
    }
    var mean_g = 0.0;
    if (CENTER) {
        mean_g = row_sum(total(sum_g), local) / f32(p.width);
    }
    let mean_gh = row_sum(total(sum_gh), local) / f32(p.width);
    if (!writes) {
        return;
    }
    for (var c = lane; c < columns; c += LANES) {
        let g = wide(grad_out[base + c]) * weight[c];
        let h = (x[base + c] - mean) * rstd;
        var value = rstd * (g - mean_g - h * mean_gh);
        if (p.accumulate != 0u) {
            value += grad_x[base + c];
        }
        grad_x[base + c] = value;
    }
}
