// column_sum: out[chunk, columns] = sum of x[row, columns] over the chunk's rows (chunk_rows each), or += when
// accumulate is set. count = chunks * columns. With one chunk this is the gradient of a bias.
// @include "lib/index.wgsl"
alias element = f32;
struct Params { count: u32, rows: u32, columns: u32, chunk_rows: u32, accumulate: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

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
    let first = i / p.columns * p.chunk_rows;
    let column = i % p.columns;
    var sum = 0.0;
    for (var row = first; row < min(first + p.chunk_rows, p.rows); row += 1u) {
        sum += f32(x[row * p.columns + column]);
    }
    out[i] = select(0.0, out[i], p.accumulate != 0u) + sum;
}
