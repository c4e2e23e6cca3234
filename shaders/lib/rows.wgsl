// Row kernels: LANES invocations share one row, ROWS rows share a workgroup. LANES is a power of two; with LANES = 1
// no barrier is left, which software adapters prefer.
const LANES: u32 = 32u;
const ROWS: u32 = 2u;

var<workgroup> scratch: array<f32, LANES * ROWS>;

// The row of an invocation; rows past the end take part in barriers but must not write.
fn row_of(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.x + group.y * groups.x) * ROWS + local / LANES;
}

// The sum of `value` over the lanes of a row, the same on every lane.
fn row_sum(value: f32, local: u32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    scratch[local] = value;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if (local % LANES < stride) {
            scratch[local] += scratch[local + stride];
        }
        workgroupBarrier();
    }
    let total = scratch[local / LANES * LANES];
    workgroupBarrier();
    return total;
}

// The maximum of `value` over the lanes of a row, the same on every lane.
fn row_max(value: f32, local: u32) -> f32 {
    if (LANES == 1u) {
        return value;
    }
    scratch[local] = value;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if (local % LANES < stride) {
            scratch[local] = max(scratch[local], scratch[local + stride]);
        }
        workgroupBarrier();
    }
    let greatest = scratch[local / LANES * LANES];
    workgroupBarrier();
    return greatest;
}
