// Shared by the attention kernels: the layout of qkv, and rows of one head as D4 vectors of four.
// qkv [batch, context, (heads + 2 kv_heads) * D]: query head h at column h * D, key head g at (heads + g) * D, value
// head g at (heads + kv_heads + g) * D. Query head h reads key-value head h / (heads / kv_heads).
// Indices are in vectors of four elements.
const D4: u32 = 8u; // D / 4
const WORKGROUP: u32 = 8u;

// How queries, keys, values, results and their gradients are stored; sums are always f32.
alias element = vec4<f32>;

// `vectors` is D4 again: compilers leave a loop up to it as it is, where they would write out one up to a constant.
struct Params { context: u32, heads: u32, kv_heads: u32, scale: f32, vectors: u32 }
var<immediate> p: Params;

// Row t of sequence z at head column `head` of qkv.
fn qkv_at(z: u32, t: u32, head: u32) -> u32 {
    return ((z * p.context + t) * (p.heads + 2u * p.kv_heads) + head) * D4;
}

// Row t of sequence z, query head h, in out and its gradient.
fn out_at(z: u32, t: u32, head: u32) -> u32 {
    return ((z * p.context + t) * p.heads + head) * D4;
}

// The index of row t, query head h, in lse and delta.
fn state_at(z: u32, t: u32, head: u32) -> u32 {
    return (z * p.heads + head) * p.context + t;
}

// The sum of the four elements.
fn total_of(x: vec4<f32>) -> f32 {
    return x.x + x.y + x.z + x.w;
}
