// Q8_0: d * q. Row: two vectors of i8 per block of 32 elements, then a word per block (f16 d, 0), four in a vector.
struct Header { pairs: vec4<u32> }

// What four blocks share, from block `group` (a multiple of four) on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(weights[base + 2u * blocks + group / 4u]);
}

fn signed_bytes(word: u32) -> vec4<f32> {
    let high = vec4<i32>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u));
    return vec4<f32>(high >> vec4<u32>(24u));
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> array<vec4<f32>, 8> {
    let d = vec4<f32>(unpack2x16float(h.pairs[part]).x);
    let first = weights[base + 2u * group];
    let second = weights[base + 2u * group + 1u];
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        values[i] = signed_bytes(first[i]) * d;
        values[4u + i] = signed_bytes(second[i]) * d;
    }
    return values;
}
