//! Generation token by token with the cache.

use std::time::Instant;

use criterion::{Criterion, Throughput};
use wgpt::{
    gpu::Gpu,
    infer::{
        generate::{Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    model::{Config, Gpt},
    ops::tuning,
};

const TOKENS: usize = 48;

/// Medians of few samples; a sample is one or more whole runs.
pub fn bench(criterion: &mut Criterion, gpu: &Gpu) {
    let mut group = criterion.benchmark_group("decode");
    let families =
        [("gpt2 4x128", Config::gpt2(65, 64, 4, 4, 128)), ("llama 6x384", Config::llama(4096, 256, 6, 6, 384))];
    for (name, config) in families {
        let model = Gpt::new(gpu, &config, 1).expect("a model");
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let run = || {
            let mut session = Session::new(gpu, &model)?;
            let limits = Limits { count: TOKENS, ..Limits::default() };
            pollster::block_on(generate(&mut session, &[1, 2, 3], limits, &greedy, |_, _| (), |_| true))
        };
        run().expect("a first run");
        pollster::block_on(tuning::answer(gpu, None, |_, _, _| {})).expect("tuned");
        run().expect("a second run");
        group.throughput(Throughput::Elements(TOKENS as u64));
        group.bench_function(format!("{name} (elements are tokens)"), |bencher| {
            bencher.iter_custom(|count| {
                let start = Instant::now();
                (0..count).for_each(|_| drop(run().expect("a run")));
                start.elapsed()
            });
        });
    }
    group.finish();
}
