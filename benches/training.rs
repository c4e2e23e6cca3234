//! Whole training steps, tuned: the nano-char configuration and a wider one.

use std::time::Duration;

use crate::common::clock;
use criterion::{Criterion, Throughput};
use wgpt::{
    gpu::Gpu,
    model::{Config, Gpt},
    ops::tuning,
    random,
    text::batches::Batch,
    train::{Settings, trainer::Trainer},
};

/// Medians of few samples; a sample is one or more whole runs.
pub fn bench(criterion: &mut Criterion, gpu: &Gpu) {
    let mut group = criterion.benchmark_group("training step");
    group.measurement_time(Duration::from_secs(5));
    let sizes = [("nano-char 4x128, 12x64", 4, 4, 128, 64, 12), ("6x384, 4x256", 6, 6, 384, 256, 4)];
    for (name, layers, heads, width, context, rows) in sizes {
        let config = Config { bias: false, ..Config::gpt2(65, context, layers, heads, width) };
        let settings = Settings { batch: rows, ..Settings::recipe(config) };
        let ids = |stream| (0..(rows * context) as u64).map(|i| random::below(1, stream, i, 65) as u32).collect();
        let batch = Batch { inputs: ids(1), targets: ids(2), starts: None, rows, context };
        let model = Gpt::new(gpu, &settings.config, 1).expect("a model");
        let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
        trainer.rehearse(std::slice::from_ref(&batch)).expect("a rehearsal");
        pollster::block_on(tuning::answer(gpu, None, |_, _, _| {})).expect("tuned");
        let mut step = || pollster::block_on(trainer.step(std::slice::from_ref(&batch))?.outcome()).map(|_| ());
        step().expect("a step");
        group.throughput(Throughput::Elements((rows * context) as u64));
        group.bench_function(format!("{name} (elements are tokens)"), |bencher| {
            bencher.iter_custom(|count| clock(gpu, count, &mut step));
        });
    }
    group.finish();
}
