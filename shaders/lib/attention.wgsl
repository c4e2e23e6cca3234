// What the attention kernels share: the layout of qkv and of the head's rows.
// qkv [batch, context, (heads + 2 kv_heads) * D]: query head h at column h * D, key head g at (heads + g) * D, value
// head g at (heads + kv_heads + g) * D. Query head h reads key-value head h / (heads / kv_heads).
const D: u32 = 32u;
const WORKGROUP: u32 = 8u;

struct Params { context: u32, heads: u32, kv_heads: u32, scale: f32 }
var<immediate> p: Params;

// The first element of row t of sequence z, at head column `head` of qkv.
fn qkv_at(z: u32, t: u32, head: u32) -> u32 {
    return ((z * p.context + t) * (p.heads + 2u * p.kv_heads) + head) * D;
}

// The first element of row t of sequence z, query head h, in out and its gradient.
fn out_at(z: u32, t: u32, head: u32) -> u32 {
    return ((z * p.context + t) * p.heads + head) * D;
}
