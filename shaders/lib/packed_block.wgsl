// 32 consecutive elements of a packed row: level * scale + offset. SCALED: the format has scales (otherwise they are 1);
// HALVES: the second 16 elements have their own scale (otherwise the same); OFFSET: there is an offset (otherwise 0).
struct Block { levels: array<vec4<f32>, 8>, scales: vec2<f32>, offset: f32 }

// The elements themselves.
fn block_values(block: Block) -> array<vec4<f32>, 8> {
    var values: array<vec4<f32>, 8>;
    for (var i = 0u; i < 4u; i += 1u) {
        values[i] = fma(block.levels[i], vec4<f32>(block.scales.x), vec4<f32>(block.offset));
        values[4u + i] = fma(block.levels[4u + i], vec4<f32>(block.scales.y), vec4<f32>(block.offset));
    }
    return values;
}

// The product of a block with 32 inputs, from the sums of level * input over each half and the sum of the inputs.
fn block_product(block: Block, first: vec4<f32>, second: vec4<f32>, total: f32) -> f32 {
    if (HALVES) {
        return block_sum(block, (first.x + first.y) + (first.z + first.w), (second.x + second.y) + (second.z + second.w), total);
    }
    let both = first + second;
    return block_sum(block, (both.x + both.y) + (both.z + both.w), 0.0, total);
}

// The same with sums over lanes of vectors already added; without HALVES, `first` is over all elements.
fn block_sum(block: Block, first: f32, second: f32, total: f32) -> f32 {
    if (HALVES) {
        return fma(first, block.scales.x, second * block.scales.y);
    }
    var sum = first;
    if (SCALED) {
        sum *= block.scales.x;
    }
    if (OFFSET) {
        sum = fma(total, block.offset, sum);
    }
    return sum;
}
