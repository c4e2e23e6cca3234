// matmul_join: adds the results of a product whose k was split: out[batch, m, n] = epilogue(sum_s a[s, batch, m, n]) over
// the k ranges s in order; each result is a_batch elements long. WIDTH elements per invocation: 1, or 4 if n is a multiple
// of 4. Overwrites or accumulates, see lib/matmul.wgsl.
// @include "lib/index.wgsl"
// @include store = "lib/matmul_store.wgsl"
const WIDTH: u32 = 1u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    let element = i * WIDTH;
    if (element >= p.a_batch) {
        return;
    }
    var sum = result();
    for (var s = 0u; s < p.k; s += 1u) {
        sum += result(a[s * (p.a_batch / WIDTH) + i]);
    }
    store(element / p.out_batch, element % p.out_batch / p.out_row, element % p.out_row, sum);
}
