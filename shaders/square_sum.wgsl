// square_sum: sums[slot + b] = sum of x[i]^2 over block b of BLOCK elements (a multiple of 4); overwrites one number per
// block. Elements from count on are padding of the last vector and are ignored.
// @include "lib/rows.wgsl"
const BLOCK: u32 = 16384u;
struct Params { count: u32, slot: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first = group.x * BLOCK;
    var sum = 0.0;
    for (var i = first + 4u * local; i < min(first + BLOCK, p.count); i += 4u * LANES) {
        let inside = vec4<u32>(i, i + 1u, i + 2u, i + 3u) < vec4<u32>(p.count);
        let value = select(vec4<f32>(), x[i / 4u], inside);
        sum += dot(value, value);
    }
    let total = row_sum(sum, local);
    if (local == 0u) {
        sums[p.slot + group.x] = total;
    }
}
