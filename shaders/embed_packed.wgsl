// embed_packed: out[t] = W[ids[t]] (+ positions[past + t % context - (SEGMENTS) starts[t]]) with packed W; one invocation
// per block of 32 elements of a token; k is a multiple of 4. weights hold the rows first..first + held. The piece with
// first = 0 overwrites everything (with 0 for ids that it does not hold); later pieces write only rows whose ids they hold.
// @include "lib/index.wgsl"
// @include format = "lib/weights_q4.wgsl"
const POSITIONS: bool = false;
const SEGMENTS: bool = false;
struct Params { count: u32, k: u32, row_quads: u32, blocks: u32, first: u32, held: u32, context: u32, past: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> positions: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

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
    let token = i / p.blocks;
    let block = i % p.blocks;
    let id = ids[token];
    let here = id >= p.first && id - p.first < p.held;
    if (!here && p.first != 0u) {
        return;
    }
    let base = select(0u, id - p.first, here) * p.row_quads;
    let values = block_values(unpack(header(base, p.blocks, block & 0xfffffffcu), base, p.blocks, block, block & 3u));
    var position = p.past + token % p.context;
    if (SEGMENTS) {
        position -= min(starts[token], position);
    }
    for (var q = 0u; q < 8u; q += 1u) {
        let k4 = block * 8u + q;
        if (k4 < p.k / 4u) {
            var value = select(vec4<f32>(), values[q], here);
            if (POSITIONS && here) {
                value += positions[position * (p.k / 4u) + k4];
            }
            out[token * (p.k / 4u) + k4] = value;
        }
    }
}
