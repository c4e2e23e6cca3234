// Q4_K: d * scale * q - dmin * offset. Row: nine vectors per block of 256 elements, as in the file: d, dmin and scales,
// then 128 bytes; 32 bytes hold two parts of 32 elements, the first in their lower halves.
// @include "lib/weights_k_scales.wgsl"

// The data shared by four parts, from part `group` (a multiple of four) of the row on.
fn header(base: u32, blocks: u32, group: u32) -> Header {
    return Header(weights[base + group / 8u * 9u]);
}

fn unpack(h: Header, base: u32, blocks: u32, group: u32, part: u32) -> Block {
    let at = base + group / 8u * 9u + 1u + (group & 7u) / 2u * 2u;
    let both = scale_and_offset(h, group & 7u);
    let shift = vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(4u * (group & 1u));
    let first = weights[at];
    let second = weights[at + 1u];
    var levels: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        let low = (vec4<u32>(first[i]) >> shift) & vec4<u32>(15u);
        let high = (vec4<u32>(second[i]) >> shift) & vec4<u32>(15u);
        levels[i] = vec4<f32>(vec4<i32>(low));
        levels[4u + i] = vec4<f32>(vec4<i32>(high));
    }
    return Block(levels, both.xx, both.y);
}
