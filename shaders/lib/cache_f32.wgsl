// A cache of keys or values in f32.
alias stored2 = vec2<f32>;
alias stored4 = vec4<f32>;

fn narrow(x: vec2<f32>) -> stored2 {
    return x;
}

fn widen(x: stored4) -> vec4<f32> {
    return x;
}
