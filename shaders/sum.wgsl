// sum: out[0] = factor * sum of x[first + stride * i] for i in 0..count, or (ROOT) the square root of that; overwrites.
// One workgroup; the order of additions depends on count only.
// @include "lib/rows.wgsl"
const ROOT: bool = false;
struct Params { count: u32, first: u32, stride: u32, factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < p.count; i += LANES) {
        sum += x[p.first + p.stride * i];
    }
    let total = row_sum(sum, local) * p.factor;
    if (local == 0u) {
        out[0] = select(total, sqrt(total), ROOT);
    }
}
