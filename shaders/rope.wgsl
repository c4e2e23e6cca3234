// rope: rotates the pairs (i, i + D/2) of every query and key head of qkv[rows, (heads + 2 kv_heads) * D] by the
// angle of the row's position; values are copied. table[position, D/2] holds (cos, sin). direction = 1 forward,
// -1 for the gradient (the inverse rotation). Row r has position past + r % context - (SEGMENTS) starts[r].
// count = rows * (heads + 2 kv_heads) * D/2. Overwrites out.
// @include "lib/index.wgsl"
const SEGMENTS: bool = false;
alias element = f32;
struct Params { count: u32, half_dim: u32, rotated_heads: u32, all_heads: u32, context: u32, past: u32, direction: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<element>;

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
    let pair = i % p.half_dim;
    let head = i / p.half_dim % p.all_heads;
    let row = i / (p.half_dim * p.all_heads);
    let low = (i - pair) * 2u + pair;
    let high = low + p.half_dim;
    let a = f32(x[low]);
    let b = f32(x[high]);
    var turn = vec2<f32>(1.0, 0.0);
    if (head < p.rotated_heads) {
        var position = p.past + row % p.context;
        if (SEGMENTS) {
            position -= min(starts[row], position);
        }
        turn = table[position * p.half_dim + pair];
    }
    let sine = turn.y * p.direction;
    out[low] = element(a * turn.x - b * sine);
    out[high] = element(b * turn.x + a * sine);
}
