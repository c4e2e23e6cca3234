// head_norm: RMSNorm of every query and key head of qkv[tokens, heads, width], out = x * rstd * weight with
// rstd = 1 / sqrt(mean(x^2) + epsilon); the first `query` heads share query_weight[width], the heads from there to
// `normed` share key_weight[width]; values are copied. rows = tokens * heads. Saves rstd[rows]. Overwrites.
// @include rows = "lib/rows.wgsl"
// @include elements = "lib/elements.wgsl"
alias element = wide;
struct Params { rows: u32, width: u32, heads: u32, query: u32, normed: u32, epsilon: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read> query_weight: array<wide>;
@group(0) @binding(2) var<storage, read> key_weight: array<wide>;
@group(0) @binding(3) var<storage, read_write> out: array<element>;
@group(0) @binding(4) var<storage, read_write> rstds: array<f32>;

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
    var squares = wide();
    for (var c = lane; c < columns; c += LANES) {
        let value = wide(x[base + c]);
        squares = fma(value, value, squares);
    }
    let rstd = 1.0 / sqrt(row_sum(total(squares), local) / f32(p.width) + p.epsilon);
    if (wanted >= p.rows) {
        return;
    }
    let head = row % p.heads;
    for (var c = lane; c < columns; c += LANES) {
        var factor = wide(1.0);
        if (head < p.query) {
            factor = rstd * query_weight[c];
        } else if (head < p.normed) {
            factor = rstd * key_weight[c];
        }
        out[base + c] = element(wide(x[base + c]) * factor);
    }
    if (lane == 0u) {
        rstds[row] = rstd;
    }
}
