// Sums and maxima over the lanes of a row through workgroup memory, for every adapter. With LANES = 1 no barrier is left.
// @include "lib/row_index.wgsl"

var<workgroup> scratch: array<f32, LANES * ROWS>;

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
