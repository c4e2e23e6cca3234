//! Shared by the benchmarks and their peers: one device, and criterion's clock around recorded work.

use std::time::{Duration, Instant};

use criterion::Criterion;
use wgpt::{
    Result,
    gpu::{Gpu, Options},
    ops::optimizer::Step,
    tensor::Tensor,
};

/// Opens the adapter that `WGPT_ADAPTER` names, or the best one if it is not set.
pub fn device() -> Gpu {
    // As the program opens it.
    let options = Options { own_kernels_only: true, ..Options::from_environment() };
    let gpu = pollster::block_on(Gpu::open(&options)).expect("a GPU adapter, real or software");
    eprintln!("adapter: {}", gpu.description());
    gpu
}

/// Few samples, so that the whole suite takes minutes on a software adapter, not an hour.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args()
}

/// Time for `count` calls that are recorded one after the other and waited for once.
pub fn clock(gpu: &Gpu, count: u64, mut call: impl FnMut() -> Result<()>) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        call().expect("the call is recorded");
    }
    pollster::block_on(gpu.finish()).expect("the driver works");
    start.elapsed()
}

/// Test values that no transposition maps onto themselves.
pub fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.4).collect()
}

/// The same as a tensor.
pub fn data(gpu: &Gpu, shape: &[usize]) -> Tensor {
    Tensor::from_f32(gpu, shape, &values(shape.iter().product())).expect("the tensor fits")
}

/// An AdamW step that leaves the weights unchanged, however often it is taken.
pub const STILL: Step = Step {
    lr: 0.0,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    decay: 0.1,
    correction1: 0.1,
    correction2: 0.01,
    max_norm: 1.0,
    unscale: None,
};
