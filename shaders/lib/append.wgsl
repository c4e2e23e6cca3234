// Splits rows into queries, keys and values and rotates them on the way; shared by kv_append and paged_append. Their files
// declare the bindings qkv, table, q, keys and values, the parameters count, heads and kv_heads, and for each row
// turned_at(row), the position by which it is rotated, and stored_at(row, kv), where the D/2 pairs of its key and value go.
// @include "lib/index.wgsl"
const D: u32 = 64u;
const ROTARY: bool = true;

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
    let column = i % (D / 4u);
    let all_heads = p.heads + 2u * p.kv_heads;
    let head = i / (D / 4u) % all_heads;
    let row = i / (D / 4u * all_heads);
    let source = (row * all_heads + head) * (D / 2u) + column;
    var low = qkv[source];
    var high = qkv[source + D / 4u];
    if (ROTARY && head < p.heads + p.kv_heads) {
        let turns = table[turned_at(row) * (D / 4u) + column];
        let a = low;
        low = a * turns.xz - high * turns.yw;
        high = high * turns.xz + a * turns.yw;
    }
    if (head < p.heads) {
        let at = (row * p.heads + head) * (D / 2u) + column;
        q[at] = low;
        q[at + D / 4u] = high;
        return;
    }
    let kv = (head - p.heads) % p.kv_heads;
    let at = stored_at(row, kv) + column;
    if (head < p.heads + p.kv_heads) {
        keys[at] = narrow(low);
        keys[at + D / 4u] = narrow(high);
    } else {
        values[at] = narrow(low);
        values[at + D / 4u] = narrow(high);
    }
}
