// Sums and maxima over the lanes of a row when these are one subgroup: every subgroup has exactly LANES lanes, with
// consecutive invocations. No barrier, no workgroup memory.
// @include "lib/row_index.wgsl"

// The sum of `value` over the lanes of a row, the same on every lane.
fn row_sum(value: f32, local: u32) -> f32 {
    return subgroupAdd(value);
}

// The maximum of `value` over the lanes of a row, the same on every lane.
fn row_max(value: f32, local: u32) -> f32 {
    return subgroupMax(value);
}
