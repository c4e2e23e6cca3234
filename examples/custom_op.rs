//! An operation of your own with its gradient: `cargo run --release --example custom_op`
//!
//! An operation runs its kernel and pushes one node onto the tape, which holds what the backward pass needs. Softsign serves as
//! the example; its gradient is checked against finite differences.

use wgpt::{
    Result, binds,
    gpu::{Gpu, Kernel, Options},
    ops::expect,
    params,
    tape::{Gradients, Tape},
    tensor::Tensor,
};

/// `out[i] = x[i] / (1 + |x[i]|)`; overwrites `out [count]`.
static SOFTSIGN: Kernel = Kernel {
    name: "softsign",
    source: r#"
// @include "lib/index.wgsl"
struct Params { count: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i < p.count) {
        out[i] = x[i] / (1.0 + abs(x[i]));
    }
}
"#,
};

/// `grad_x[i] (+)= grad_out[i] / (1 + |x[i]|)^2`: adds to `grad_x [count]`, or overwrites it.
static SOFTSIGN_BACKWARD: Kernel = Kernel {
    name: "softsign_backward",
    source: r#"
// @include "lib/index.wgsl"
struct Params { count: u32, accumulate: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> grad_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<f32>;

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
    let root = 1.0 + abs(x[i]);
    let before = select(0.0, grad_x[i], p.accumulate != 0u);
    grad_x[i] = before + grad_out[i] / (root * root);
}
"#,
};

/// `x / (1 + |x|)`, of any shape.
fn softsign(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    let (gpu, count) = (tape.gpu(), x.elements());
    let out = Tensor::empty_f32(gpu, x.shape())?;
    gpu.dispatch(&SOFTSIGN.plain(), binds![x: x.bind(), out: out.bind()], params![count: count], gpu.flat_grid(count))?;
    let input = x.clone();
    // Recorded only if the gradient of `x` is wanted.
    tape.push(&[x], &out, move |gradients, gradient| {
        // Where to write, and whether another use of `x` has already written there.
        let (grad_x, accumulate) = gradients.slot(&input)?;
        softsign_backward(&input, &gradient, &grad_x, accumulate)
    });
    Ok(out)
}

fn softsign_backward(x: &Tensor, grad_out: &Tensor, grad_x: &Tensor, accumulate: bool) -> Result<()> {
    expect("softsign_backward", "the gradient", grad_out, x.shape())?;
    let (gpu, count) = (x.gpu(), x.elements());
    gpu.dispatch(
        &SOFTSIGN_BACKWARD.plain(),
        binds![x: x.bind(), grad_out: grad_out.bind(), grad_x: grad_x.bind()],
        params![count: count, accumulate: accumulate],
        gpu.flat_grid(count),
    )
}

async fn run() -> Result<()> {
    let gpu = Gpu::open(&Options::from_environment()).await?;
    println!("{}", gpu.description());
    let values: Vec<f32> = (0..101).map(|i| (i as f32 - 50.3) / 10.0).collect();
    // The gradient that arrives at the output: different for each element, so that a mix-up is noticed.
    let arriving: Vec<f32> = (0..101).map(|i| 1.0 - 0.01 * i as f32).collect();

    let x = Tensor::from_f32(&gpu, &[101], &values)?;
    let tape = Tape::new(&gpu);
    tape.watch(&x);
    // Used twice: the gradients of both uses must add up.
    let once = softsign(&tape, &x)?;
    let twice = softsign(&tape, &once)?;
    let mut gradients = Gradients::default();
    tape.backward(&twice, Tensor::from_f32(&gpu, &[101], &arriving)?, &mut gradients)?;
    let found = gradients.get(&x).expect("x was watched").to_f32().await?;

    let f = |x: f64| x / (1.0 + x.abs());
    let step = 1e-6;
    let mut worst = 0.0f64;
    for ((x, arriving), found) in values.iter().zip(&arriving).zip(&found) {
        let (x, arriving) = (f64::from(*x), f64::from(*arriving));
        let difference = (f(f(x + step)) - f(f(x - step))) / (2.0 * step);
        worst = worst.max((arriving * difference - f64::from(*found)).abs());
    }
    println!("largest difference from finite differences: {worst:.1e}");
    assert!(worst < 1e-5, "the gradient is wrong");
    Ok(())
}

fn main() {
    if let Err(error) = pollster::block_on(run()) {
        eprintln!("custom_op: {error}");
        std::process::exit(1);
    }
}
