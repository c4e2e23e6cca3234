// F16. Row: four vectors per 32 elements.
struct Header { unused: u32 }

fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(0u);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> array<vec4<f32>, 8> {
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        let words = weights[base + 4u * group + i];
        values[2u * i] = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
        values[2u * i + 1u] = vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
    }
    return values;
}
