// Q5_K: d * scale * q - dmin * offset. Row: eleven vectors per block of 256 elements, as in the file: d, dmin and
// scales, 32 bytes of fifth bits (bit `part` of byte j), then 128 bytes as in Q4_K.
// @include "lib/weights_k_scales.wgsl"

// The data shared by four parts, from part `group` (a multiple of four) of the row on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(weights[base + group / 8u * 11u]);
}

fn five_bits(word: u32, fifths: u32, shift: u32, part: u32) -> vec4<f32> {
    let bytes = vec4<u32>(0u, 8u, 16u, 24u);
    let low = (vec4<u32>(word) >> (bytes + vec4<u32>(shift))) & vec4<u32>(15u);
    let fifth = ((vec4<u32>(fifths) >> (bytes + vec4<u32>(part))) & vec4<u32>(1u)) << vec4<u32>(4u);
    return vec4<f32>(vec4<i32>(low | fifth));
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    let block = base + group / 8u * 11u;
    let inner = group & 7u;
    let at = block + 3u + inner / 2u * 2u;
    let both = scale_and_offset(h, inner);
    let shift = 4u * (inner & 1u);
    var levels: array<vec4<f32>, 8>;
    for (var half = 0u; half < 2u; half += 1u) {
        let words = weights[at + half];
        let fifths = weights[block + 1u + half];
        for (var i = 0u; i < 4u; i += 1u) {
            levels[4u * half + i] = five_bits(words[i], fifths[i], shift, inner);
        }
    }
    return Block(levels, both.xx, both.y);
}
