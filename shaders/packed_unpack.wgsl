// packed_unpack: rows of packed weights as f32: out[out_start + r, k] = W[start + r, k]. One invocation per block of 32
// elements; k is a multiple of 4. Overwrites.
// @include "lib/index.wgsl"
// @include format = "lib/weights_q4.wgsl"
struct Params { count: u32, k: u32, row_quads: u32, blocks: u32, start: u32, out_start: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

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
    let row = i / p.blocks;
    let block = i % p.blocks;
    let base = (p.start + row) * p.row_quads;
    let values = block_values(unpack(header(base, p.blocks, block & 0xfffffffcu), base, p.blocks, block, block & 3u));
    for (var q = 0u; q < 8u; q += 1u) {
        let k4 = block * 8u + q;
        if (k4 < p.k / 4u) {
            out[(p.out_start + row) * (p.k / 4u) + k4] = values[q];
        }
    }
}
