// token_logprobs: logprobs[row] = target's x - m - log(sum) and entropies[row] = log(sum) - spread / sum, both 0 where
// the target is ignored (0xffffffff); stats[rows, 4] = (m, sum of exp(x - m), target's x, spread = sum of exp(x - m) (x
// - m)) are from cross_entropy with ENTROPY after the last chunk. count = rows. Overwrites.
// @include "lib/index.wgsl"
struct Params { count: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> targets: array<u32>;
@group(0) @binding(1) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> logprobs: array<f32>;
@group(0) @binding(3) var<storage, read_write> entropies: array<f32>;

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
    let ignored = targets[i] == 0xffffffffu;
    let known = stats[i];
    logprobs[i] = select(known.z - known.x - log(known.y), 0.0, ignored);
    entropies[i] = select(log(known.y) - known.w / known.y, 0.0, ignored);
}
