// norm: out[rows, width] = (x - mean) * rstd * weight (+ bias); rstd = 1 / sqrt(variance + epsilon).
// LayerNorm: CENTER. RMSNorm: no CENTER, mean = 0 and variance = mean(x^2). Saves stats[rows] = (mean, rstd).
// Overwrites.
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
    var mean = 0.0;
    if (CENTER) {
        var sum = wide();
        for (var c = lane; c < columns; c += LANES) {
            sum += x[base + c];
        }
        mean = row_sum(total(sum), local) / f32(p.width);
    }
    var squares = wide();
    for (var c = lane; c < columns; c += LANES) {
        let d = x[base + c] - mean;
        squares = fma(d, d, squares);
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
