// value_loss: squared errors of values, one per row. plain = (values - returns)^2; CLIP: clipped = (old_values +
// clamp(values - old_values, -clip, clip) - returns)^2, else the same as plain. terms[rows, 4] = weights * (factor *
// max(plain, clipped), [clipped > plain], plain, values); slopes[rows] = weights * d (first term) / d values. Rows with
// weight 0 give zeros whatever they hold. count = rows. Overwrites.
// @include "lib/index.wgsl"
const CLIP: bool = false;
struct Params { count: u32, clip: f32, factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> old_values: array<f32>;
@group(0) @binding(2) var<storage, read> returns: array<f32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> terms: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> slopes: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.count) {
        return;
    }
    let weight = weights[i];
    if (weight == 0.0) {
        // Masked rows may hold anything, even NaN.
        terms[i] = vec4<f32>();
        slopes[i] = 0.0;
        return;
    }
    let value = values[i];
    let error = value - returns[i];
    let plain = error * error;
    var clipped = plain;
    var slope = 2.0 * error;
    if (CLIP) {
        let moved = value - old_values[i];
        // Within the clip both are exactly the same number, or else rounding would count as clipping.
        if (abs(moved) > p.clip) {
            let other = old_values[i] + clamp(moved, -p.clip, p.clip) - returns[i];
            clipped = other * other;
        }
    }
    let takes_clipped = clipped > plain;
    terms[i] = weight * vec4<f32>(p.factor * max(plain, clipped), select(0.0, 1.0, takes_clipped), plain, value);
    slopes[i] = weight * p.factor * select(slope, 0.0, takes_clipped);
}
