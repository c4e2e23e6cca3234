// embed_backward: grad_table[ids[g] - first] += sum over g's positions of grad_out[position], for every distinct id g.
// order[starts[g]..starts[g + 1]] are the rows that hold id ids[g], ascending, so the sum's order never changes.
// Accumulates; ids outside the held rows first..first + held are left to other pieces. A row has columns * EACH elements;
// count = groups * columns.
// @include "lib/index.wgsl"
// @include elements = "lib/elements.wgsl"
alias grad_out_element = wide;
struct Params { count: u32, columns: u32, first: u32, held: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> grad_out: array<grad_out_element>;
@group(0) @binding(4) var<storage, read_write> grad_table: array<wide>;

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
    let g = i / p.columns;
    let column = i - g * p.columns;
    let id = ids[g];
    if (id < p.first || id - p.first >= p.held) {
        return;
    }
    var sum = wide();
    let end = starts[g + 1u];
    for (var j = starts[g]; j < end; j += 1u) {
        sum += wide(grad_out[order[j] * p.columns + column]);
    }
    grad_table[(id - p.first) * p.columns + column] += sum;
}
