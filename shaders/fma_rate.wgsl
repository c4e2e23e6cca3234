// fma_rate: measures the adapter's roofline for arithmetic. Every invocation runs 8 independent chains of p.rounds fused
// multiply-adds on vectors of four, 64 * rounds operations; out[invocation] keeps the compiler from removing them.
const WORKGROUP: u32 = 64u;
const UNROLL: u32 = 4u; // p.rounds is a multiple of it
struct Params { rounds: u32, factor: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let factor = vec4<f32>(p.factor);
    // In registers: many GPUs cannot multiply and add with a constant and a parameter at once.
    let start = vec4<f32>(f32(id.x % 7u)) + vec4<f32>(0.0, 1.0, 2.0, 3.0);
    var a = start;
    var b = start + 1.0;
    var c = start + 2.0;
    var d = start + 3.0;
    var e = start + 4.0;
    var f = start + 5.0;
    var g = start + 6.0;
    var h = start + 7.0;
    for (var i = 0u; i < p.rounds; i += UNROLL) {
        for (var u = 0u; u < UNROLL; u += 1u) {
            a = fma(a, factor, start);
            b = fma(b, factor, start);
            c = fma(c, factor, start);
            d = fma(d, factor, start);
            e = fma(e, factor, start);
            f = fma(f, factor, start);
            g = fma(g, factor, start);
            h = fma(h, factor, start);
        }
    }
    let sum = a + b + c + d + e + f + g + h;
    out[id.x] = sum.x + sum.y + sum.z + sum.w;
}
