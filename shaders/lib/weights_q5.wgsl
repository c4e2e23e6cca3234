// Q5_0 and Q5_1 as d * q + m. Row: a vector of lower bits per block as in weights_q4, then a word of fifth bits per
// block (bit j: element j), then a word (f16 d, f16 m) per block; four words in a vector.
struct Header { fifths: vec4<u32>, pairs: vec4<u32> }

// What four blocks share, from block `group` (a multiple of four) on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    let at = base + blocks + group / 4u;
    return Header(weights[at], weights[at + (blocks + 3u) / 4u]);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> array<vec4<f32>, 8> {
    let quants = weights[base + group];
    let pair = unpack2x16float(h.pairs[part]);
    let d = vec4<f32>(pair.x);
    let m = vec4<f32>(pair.y);
    let fifth = vec4<u32>(h.fifths[part]) >> vec4<u32>(0u, 1u, 2u, 3u);
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        let bytes = vec4<u32>(quants[i]) >> vec4<u32>(0u, 8u, 16u, 24u);
        let low = (bytes & vec4<u32>(15u)) | (((fifth >> vec4<u32>(4u * i)) & vec4<u32>(1u)) << vec4<u32>(4u));
        let high = ((bytes >> vec4<u32>(4u)) & vec4<u32>(15u))
            | (((fifth >> vec4<u32>(4u * i + 16u)) & vec4<u32>(1u)) << vec4<u32>(4u));
        values[i] = fma(vec4<f32>(vec4<i32>(low)), d, m);
        values[4u + i] = fma(vec4<f32>(vec4<i32>(high)), d, m);
    }
    return values;
}
