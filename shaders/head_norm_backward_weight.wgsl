// head_norm_backward_weight: partial sums over each chunk of tokens of grad_out * x * rstd, the gradients of head_norm's
// two weights: over query heads into query_sums, over key heads into key_sums, both [chunks, width];
// count = chunks * width. Overwrites; column_sum adds the chunks.
// @include "lib/index.wgsl"
alias element = f32;
struct Params { count: u32, tokens: u32, width: u32, heads: u32, query: u32, normed: u32, chunk_tokens: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<element>;
@group(0) @binding(1) var<storage, read> rstds: array<f32>;
@group(0) @binding(2) var<storage, read> grad_out: array<element>;
@group(0) @binding(3) var<storage, read_write> query_sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> key_sums: array<f32>;

fn term(row: u32, column: u32) -> f32 {
    let at = row * p.width + column;
    return f32(grad_out[at]) * f32(x[at]) * rstds[row];
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.count) {
        return;
    }
    let first = i / p.width * p.chunk_tokens;
    let column = i % p.width;
    var query_sum = 0.0;
    var key_sum = 0.0;
    for (var token = first; token < min(first + p.chunk_tokens, p.tokens); token += 1u) {
        for (var head = 0u; head < p.query; head += 1u) {
            query_sum += term(token * p.heads + head, column);
        }
        for (var head = p.query; head < p.normed; head += 1u) {
            key_sum += term(token * p.heads + head, column);
        }
    }
    query_sums[i] = query_sum;
    key_sums[i] = key_sum;
}
