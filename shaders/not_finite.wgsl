// not_finite: first[0] = min(first[0], number) if any of the count words of x is not finite. A word is an f32, or with HALF a
// pair of f16.
// @include "lib/index.wgsl"
const HALF: bool = false;
struct Params { count: u32, number: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> first: array<atomic<u32>>;

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
    let word = x[i];
    var found = (word & 0x7f800000u) == 0x7f800000u;
    if (HALF) {
        found = (word & 0x7c00u) == 0x7c00u || (word & 0x7c000000u) == 0x7c000000u;
    }
    if (found) {
        atomicMin(&first[0], p.number);
    }
}
