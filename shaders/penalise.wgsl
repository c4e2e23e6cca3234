// penalise: makes tokens that occurred before less likely, in place: logits[row, id] is divided by `penalty` if it is
// positive, else multiplied (Keskar et al. 2019). ids[rows, per_row] has no id twice in a row; 0xffffffff means no id.
// count = rows * per_row.
// @include "lib/index.wgsl"
struct Params { count: u32, per_row: u32, width: u32, penalty: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.count || ids[i] >= p.width) {
        return;
    }
    let at = i / p.per_row * p.width + ids[i];
    let x = logits[at];
    logits[at] = select(x * p.penalty, x / p.penalty, x > 0.0);
}
