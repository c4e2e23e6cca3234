// head_norm_backward: the gradient of head_norm with respect to x. With g = grad_out * weight and h = x * rstd,
// grad_x = rstd * (g - h * mean(g * h)) for query and key heads; grad_out for values. [rows, width]. Overwrites.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
alias element = wide;
struct Params { rows: u32, width: u32, heads: u32, query: u32, normed: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read> query_weight: array<wide>;
@group(0) @binding(2) var<storage, read> key_weight: array<wide>;
@group(0) @binding(3) var<storage, read> rstds: array<f32>;
@group(0) @binding(4) var<storage, read> grad_out: array<element>;
@group(0) @binding(5) var<storage, read_write> grad_x: array<element>;

fn weight_of(head: u32, c: u32) -> wide {
    if (head < p.query) {
        return query_weight[c];
    }
    return key_weight[c];
}

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let wanted = row_of(group, groups, local);
    let row = min(wanted, p.rows - 1u);
    let lane = local % LANES;
    let columns = p.width / EACH;
    let base = row * columns;
    let head = row % p.heads;
    let rstd = rstds[row];
    var sum = wide();
    for (var c = lane; c < columns; c += LANES) {
        sum = fma(wide(grad_out[base + c]) * weight_of(head, c), wide(x[base + c]) * rstd, sum);
    }
    let mean = row_sum(total(sum), local) / f32(p.width);
    if (wanted >= p.rows) {
        return;
    }
    for (var c = lane; c < columns; c += LANES) {
        var value = wide(grad_out[base + c]);
        if (head < p.normed) {
            value = rstd * (value * weight_of(head, c) - wide(x[base + c]) * rstd * mean);
        }
        grad_x[base + c] = element(value);
    }
}
