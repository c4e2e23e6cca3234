// policy_loss: the clipped surrogate of PPO, one token per row. log_ratio = clamp(logprobs - old_logprobs, -20, 20),
// ratio = exp(log_ratio), plain = -advantages ratio, clipped = -advantages clamp(ratio, 1 - clip, 1 + clip).
// terms[rows, 5] = weights * (loss, log_ratio^2 / 2, [clipped > plain], ratio, kl): loss = max(plain, clipped) + beta
// kl, and (REFERENCE) kl = exp(d) - d - 1 with d = clamp(reference - logprobs, -20, 20), else 0. slopes[rows] = weights
// * d loss / d logprobs; clamped values have slope 0. Rows with weight 0 give zeros whatever they hold. count = rows.
// Overwrites.
// @include "lib/index.wgsl"
const REFERENCE: bool = false;
const LARGEST: f32 = 20.0;
struct Params { count: u32, clip: f32, beta: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> logprobs: array<f32>;
@group(0) @binding(1) var<storage, read> old_logprobs: array<f32>;
@group(0) @binding(2) var<storage, read> advantages: array<f32>;
@group(0) @binding(3) var<storage, read> reference: array<f32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> terms: array<f32>;
@group(0) @binding(6) var<storage, read_write> slopes: array<f32>;

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
    // Masked rows may hold anything, even NaN, so they are not computed.
    let counts = weight != 0.0;
    let logprob = select(0.0, logprobs[i], counts);
    let difference = select(0.0, logprob - old_logprobs[i], counts);
    let advantage = select(0.0, advantages[i], counts);
    let log_ratio = clamp(difference, -LARGEST, LARGEST);
    let ratio = exp(log_ratio);
    let plain = -advantage * ratio;
    let clipped = -advantage * clamp(ratio, 1.0 - p.clip, 1.0 + p.clip);
    let flat = clipped > plain || abs(difference) > LARGEST;
    var slope = select(plain, 0.0, flat);
    var kl = 0.0;
    if (REFERENCE) {
        let further = select(0.0, reference[i] - logprob, counts);
        let d = clamp(further, -LARGEST, LARGEST);
        // Near 0 the difference cancels; its Taylor series does not.
        kl = select(exp(d) - d - 1.0, d * d * (0.5 + d / 6.0), abs(d) < 0.01);
        slope += select(p.beta * (1.0 - exp(d)), 0.0, abs(further) > LARGEST);
    }
    terms[5u * i] = weight * (max(plain, clipped) + p.beta * kl);
    terms[5u * i + 1u] = weight * 0.5 * log_ratio * log_ratio;
    terms[5u * i + 2u] = weight * select(0.0, 1.0, clipped > plain);
    terms[5u * i + 3u] = weight * ratio;
    terms[5u * i + 4u] = weight * kl;
    slopes[i] = weight * slope;
}
