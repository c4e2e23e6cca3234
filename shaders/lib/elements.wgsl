// Rows read and computed by single elements; works for every width. `EACH` elements make up one `wide`.
const EACH: u32 = 1u;
alias wide = f32;

// The sum of the elements.
fn total(value: wide) -> f32 {
    return value;
}

// The greatest of the elements.
fn greatest(value: wide) -> f32 {
    return value;
}

// Element i of the value.
fn pick(value: wide, i: u32) -> f32 {
    return value;
}

// 1 at element i, 0 elsewhere.
fn one_hot(i: u32) -> wide {
    return 1.0;
}
