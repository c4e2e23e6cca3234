// Rows read and computed by vectors of four; the width must be a multiple of four. One load then serves four elements,
// and one index is computed for them. `EACH` elements make up one `wide`.
const EACH: u32 = 4u;
alias wide = vec4<f32>;

// The sum of the elements.
fn total(value: wide) -> f32 {
    return value.x + value.y + (value.z + value.w);
}

// The greatest of the elements.
fn greatest(value: wide) -> f32 {
    return max(max(value.x, value.y), max(value.z, value.w));
}

// Element i of the value.
fn pick(value: wide, i: u32) -> f32 {
    return value[i];
}

// 1 at element i, 0 elsewhere.
fn one_hot(i: u32) -> wide {
    return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(i));
}
