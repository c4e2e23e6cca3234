// GELU in its tanh form, as in GPT-2: 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). The sigmoid
// keeps its relative precision in the left tail, where 1 + tanh cancels.
const GELU_SCALE: f32 = 1.5957691216057308; // 2 sqrt(2/pi)
const GELU_CUBE: f32 = 0.044715;

fn gelu_gate(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-GELU_SCALE * (x + GELU_CUBE * x * x * x)));
}

fn gelu4(x: vec4<f32>) -> vec4<f32> {
    return x * gelu_gate(x);
}

fn gelu(x: f32) -> f32 {
    return gelu4(vec4<f32>(x)).x;
}

fn gelu_derivative4(x: vec4<f32>) -> vec4<f32> {
    let s = gelu_gate(x);
    return s + x * s * (1.0 - s) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x);
}
