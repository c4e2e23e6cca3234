// Invocations per workgroup of a flat kernel.
const WORKGROUP: u32 = 64u;

// The flat index of an invocation; grids with more than 65,535 groups are folded into y.
fn flat_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return (group.x + group.y * groups.x) * WORKGROUP + local;
}

// Most flat kernels work on vectors of four: count is the number of vectors, and the last one may reach into the
// padding that every buffer has.
