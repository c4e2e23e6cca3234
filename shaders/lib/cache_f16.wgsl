// A cache of keys or values in half precision, two numbers per word.
alias stored2 = u32;
alias stored4 = vec2<u32>;

fn narrow(x: vec2<f32>) -> stored2 {
    return pack2x16float(x);
}

fn widen(x: stored4) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(x.x), unpack2x16float(x.y));
}
