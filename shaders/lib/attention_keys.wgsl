// The sources for the rows library: keys and values, for kernels that loop over the keys of a query.
fn source_a(index: u32) -> vec4<f32> {
    return vec4<f32>(qkv[index]);
}

fn source_b(index: u32) -> vec4<f32> {
    return vec4<f32>(qkv[index]);
}

fn row_a(z: u32, j: u32, kv: u32) -> u32 {
    return qkv_at(z, j, p.heads + kv);
}

fn row_b(z: u32, j: u32, kv: u32) -> u32 {
    return qkv_at(z, j, p.heads + p.kv_heads + kv);
}
