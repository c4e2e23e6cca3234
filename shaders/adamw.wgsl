// adamw: one AdamW step (Loshchilov and Hutter 2019, PyTorch's order of operations) over count vectors of four, in place.
// g = gradient * min(1, max_norm / (norm[0] + 1e-6)); w -= lr * decay * w; m = beta1 m + (1 - beta1) g;
// v = beta2 v + (1 - beta2) g^2; w -= lr / correction1 * m / (sqrt(v / correction2) + epsilon).
// correction = 1 - beta^step. max_norm = 0 leaves the gradient as it is. Nothing is written if norm is not finite. SCALED: the
// stored gradient is 1 / unscale times the real one, norm is the real one's. HALF: half = w.
// @include "lib/index.wgsl"
const SCALED: bool = false;
const HALF: bool = false;
alias half_element = vec4<f32>;
struct Params {
    count: u32, lr: f32, beta1: f32, beta2: f32, epsilon: f32, decay: f32,
    correction1: f32, correction2: f32, max_norm: f32, unscale: f32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> half: array<half_element>;

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
    // Tests the bits, because compilers may assume that numbers are finite.
    if ((bitcast<u32>(norm[0]) & 0x7f800000u) == 0x7f800000u) {
        return;
    }
    var g = gradient[i];
    if (SCALED) {
        g *= p.unscale;
    }
    if (p.max_norm > 0.0) {
        g *= min(1.0, p.max_norm / (norm[0] + 1e-6));
    }
    let first = p.beta1 * m[i] + (1.0 - p.beta1) * g;
    let second = p.beta2 * v[i] + (1.0 - p.beta2) * g * g;
    m[i] = first;
    v[i] = second;
    let shrunk = weight[i] - p.lr * p.decay * weight[i];
    let updated = shrunk - p.lr / p.correction1 * first / (sqrt(second / p.correction2) + p.epsilon);
    weight[i] = updated;
    if (HALF) {
        half[i] = half_element(updated);
    }
}
