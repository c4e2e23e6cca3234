// embed: out[rows, width] = table[ids[row]] + (POSITIONS) positions[past + row % context - (SEGMENTS) starts[row]];
// table holds the vocabulary's rows first..first + held. The piece with first = 0 overwrites everything (with 0 for ids
// that it does not hold); later pieces write only the rows whose ids they hold.
// @include "lib/row_index.wgsl"
// @include elements = "lib/elements.wgsl"
const POSITIONS: bool = false;
const SEGMENTS: bool = false;
alias out_element = wide;
struct Params { rows: u32, width: u32, first: u32, held: u32, context: u32, past: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<wide>;
@group(0) @binding(2) var<storage, read> positions: array<wide>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<out_element>;

@compute @workgroup_size(LANES * ROWS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local);
    if (row >= p.rows) {
        return;
    }
    let id = ids[row];
    let here = id >= p.first && id - p.first < p.held;
    if (!here && p.first != 0u) {
        return;
    }
    let columns = p.width / EACH;
    let source = select(0u, id - p.first, here) * columns;
    var position = 0u;
    if (POSITIONS) {
        position = p.past + row % p.context;
        if (SEGMENTS) {
            position -= min(starts[row], position);
        }
    }
    for (var c = local % LANES; c < columns; c += LANES) {
        var value = wide();
        if (here) {
            value = table[source + c];
            if (POSITIONS) {
                value += positions[position * columns + c];
            }
        }
        out[row * columns + c] = out_element(value);
    }
}
