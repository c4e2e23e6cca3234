// GELU by tanh, as GPT-2 has it: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
// tanh(u) = 1 - 2 / (exp(2u) + 1): exact at both ends, where tanh itself overflows on some drivers.
const GELU_SCALE: f32 = 0.7978845608028654;
const GELU_CUBE: f32 = 0.044715;

fn gelu_tanh(x: vec4<f32>) -> vec4<f32> {
    let u = GELU_SCALE * (x + GELU_CUBE * x * x * x);
    return 1.0 - 2.0 / (exp(2.0 * min(u, vec4<f32>(40.0))) + 1.0);
}

fn gelu4(x: vec4<f32>) -> vec4<f32> {
    return 0.5 * x * (1.0 + gelu_tanh(x));
}

fn gelu(x: f32) -> f32 {
    return gelu4(vec4<f32>(x)).x;
}

fn gelu_derivative4(x: vec4<f32>) -> vec4<f32> {
    let t = gelu_tanh(x);
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x);
}
