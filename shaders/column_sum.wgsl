// column_sum: out[chunk, width] = sum of x[row, width] over the chunk's rows (chunk_rows each), or += when accumulate
// is set. count = chunks * columns, where columns = width / EACH. With one chunk this is the gradient of a bias.
// @include "lib/index.wgsl"
// @include elements = "lib/elements.wgsl"
alias x_element = wide;
struct Params { count: u32, rows: u32, columns: u32, chunk_rows: u32, accumulate: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<x_element>;
@group(0) @binding(1) var<storage, read_write> out: array<wide>;

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
    let chunk = i / p.columns;
    let column = i - chunk * p.columns;
    let first = chunk * p.chunk_rows;
    var sum = wide();
    for (var row = first; row < min(first + p.chunk_rows, p.rows); row += 1u) {
        sum += wide(x[row * p.columns + column]);
    }
    if (p.accumulate != 0u) {
        sum += out[i];
    }
    out[i] = sum;
}
