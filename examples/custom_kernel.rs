//! A compute kernel of your own, checked against an oracle: `cargo run --release --example custom_kernel`
//!
//! The kernel computes the log-sum-exp of every row of a matrix, one workgroup per row. wgpt reads the bindings, parameters and
//! workgroup size from the WGSL itself, compiles it once, and checks at each dispatch that what you bind fits what it declares.

use wgpt::{
    Result, binds,
    gpu::{Gpu, Kernel, Options},
    ops::require,
    params,
    tensor::Tensor,
};

/// `out[row] = log(sum over columns of exp(x[row, column]))`, for `x [rows, width]`; overwrites `out [rows]`.
static LOG_SUM_EXP: Kernel = Kernel {
    name: "log_sum_exp",
    source: "
struct Params { width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

const LANES: u32 = 64u;
var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * p.width;
    // Each lane takes every 64th column. The largest element is subtracted first, so that exp does not overflow.
    var largest = x[base];
    for (var column = lane; column < p.width; column += LANES) {
        largest = max(largest, x[base + column]);
    }
    partial[lane] = largest;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
        workgroupBarrier();
    }
    largest = partial[0];
    workgroupBarrier();

    var sum = 0.0;
    for (var column = lane; column < p.width; column += LANES) {
        sum += exp(x[base + column] - largest);
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        out[group.x] = largest + log(partial[0]);
    }
}
",
};

/// The log-sum-exp of every row of `x [rows, width]`: `[rows]`.
fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let (gpu, rows, width) = (x.gpu(), x.height(), x.width());
    require(rows <= 65_535, "log_sum_exp", || format!("{rows} rows, a dispatch has at most 65535 workgroups"))?;
    let out = Tensor::empty_f32(gpu, &[rows])?;
    gpu.dispatch(
        &LOG_SUM_EXP.plain(),
        binds![x: x.bind(), out: out.bind()],
        params![width: width],
        [rows as u32, 1, 1],
    )?;
    Ok(out)
}

/// The same in f64, in a plain loop.
fn oracle(x: &[f32], width: usize) -> Vec<f64> {
    x.chunks_exact(width).map(|row| row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln()).collect()
}

async fn run() -> Result<()> {
    let gpu = Gpu::open(&Options::from_environment()).await?;
    println!("{}", gpu.description());
    // New buffers are now filled with NaN, so that an element that the kernel does not write is noticed.
    gpu.poison(true);
    // Odd sizes test the kernel's behaviour at the edges.
    for (rows, width) in [(1, 1), (3, 63), (7, 64), (5, 65), (11, 1009)] {
        let values: Vec<f32> = (0..rows * width).map(|i| ((i * 37 % 101) as f32 - 40.0) / 10.0).collect();
        let x = Tensor::from_f32(&gpu, &[rows, width], &values)?;
        let found = log_sum_exp(&x)?.to_f32().await?;
        let worst = found.iter().zip(oracle(&values, width)).map(|(found, wanted)| (f64::from(*found) - wanted).abs());
        let worst = worst.fold(0.0, |worst: f64, error| if error.is_nan() { f64::INFINITY } else { worst.max(error) });
        println!("[{rows}, {width}]: largest error {worst:.1e}");
        assert!(worst < 1e-5, "the kernel disagrees with its oracle");
    }
    Ok(())
}

fn main() {
    if let Err(error) = pollster::block_on(run()) {
        eprintln!("custom_kernel: {error}");
        std::process::exit(1);
    }
}
