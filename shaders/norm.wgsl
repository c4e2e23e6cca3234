// norm: out[rows, width] = (x - mean) * rstd * weight (+ bias); rstd = 1 / sqrt(variance + epsilon).
// LayerNorm: CENTER. RMSNorm: no CENTER, mean = 0 and variance = mean(x^2). Saves stats[rows] = (mean, rstd).
// Overwrites. x is read twice: mean and variance come from one pass.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
const CENTER: bool = true;
const BIAS: bool = true;
alias out_element = wide;
struct Params { rows: u32, width: u32, epsilon: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<wide>;
@group(0) @binding(1) var<storage, read> weight: array<wide>;
@group(0) @binding(2) var<storage, read> bias: array<wide>;
@group(0) @binding(3) var<storage, read_write> out: array<out_element>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;

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
    // Welford's running means and sums of squared deviations, of `count` elements each: one pass, and no difference of
    // large numbers.
    var means = wide();
    var squares = wide();
    var count = 0.0;
    for (var c = lane; c < columns; c += LANES) {
        let value = x[base + c];
        let off = value - means;
        if (CENTER) {
            count += 1.0;
            means += off * (1.0 / count);
        }
        squares = fma(off, value - means, squares);
    }
    var mean = 0.0;
    if (CENTER) {
        mean = row_sum(count * total(means), local) / f32(p.width);
        let off = means - mean;
        squares = fma(off * off, wide(count), squares);
    }
    let rstd = 1.0 / sqrt(row_sum(total(squares), local) / f32(p.width) + p.epsilon);
    if (!writes) {
        return;
    }
    for (var c = lane; c < columns; c += LANES) {
        var value = (x[base + c] - mean) * rstd * weight[c];
        if (BIAS) {
            value += bias[c];
        }
        out[base + c] = out_element(value);
    }
    if (lane == 0u) {
        stats[row] = vec2<f32>(mean, rstd);
    }
}
