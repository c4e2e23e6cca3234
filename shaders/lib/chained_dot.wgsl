// sum + x . y, one element after the other: a register for each sum, where a vector of sums would take four.
fn chained_dot(x: vec4<f32>, y: vec4<f32>, sum: f32) -> f32 {
    return fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, sum))));
}
