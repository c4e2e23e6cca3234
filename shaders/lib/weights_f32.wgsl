// F32. Row: eight vectors per 32 elements.
struct Header { unused: u32 }

fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(0u);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> array<vec4<f32>, 8> {
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; i < 8u; i += 1u) {
        values[i] = bitcast<vec4<f32>>(weights[base + 8u * group + i]);
    }
    return values;
}
