// For row kernels: LANES invocations share one row, and ROWS rows share a workgroup. LANES is a power of two.
const LANES: u32 = 32u;
const ROWS: u32 = 2u;

// The row of an invocation; rows past the end take part in barriers but must not write.
fn row_of(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.x + group.y * groups.x) * ROWS + local / LANES;
}
