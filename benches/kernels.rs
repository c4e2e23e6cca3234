//! The adapter's rooflines (copy bandwidth, multiply-adds, cost of a dispatch and a submission), then every kernel.

use crate::common::{STILL, clock, data};
use criterion::{Criterion, Throughput};
use wgpt::{
    gpu::Gpu,
    ops::{
        activation,
        attention::{self, Heads},
        cross_entropy::Targets,
        elementwise,
        head::{self, Reading},
        matmul::{self, Epilogue, Shape, matmul_with},
        norm, optimizer,
        roofline::MultiplyAdds,
        rows, softmax,
    },
    tape::Tape,
    tensor::{DType, Tensor},
};

fn roofline(criterion: &mut Criterion, gpu: &Gpu) {
    let mut group = criterion.benchmark_group("roofline");
    let bytes = 64 << 20;
    let (from, to) = (data(gpu, &[bytes / 4]), data(gpu, &[bytes / 4]));
    group.throughput(Throughput::Bytes(2 * bytes as u64));
    group.bench_function("copy buffer 64 MiB", |bencher| {
        bencher.iter_custom(|count| {
            clock(gpu, count, || {
                gpu.copy(from.bind(), to.bind());
                Ok(())
            })
        });
    });
    group.bench_function("copy kernel 64 MiB", |bencher| {
        bencher.iter_custom(|count| clock(gpu, count, || from.scale_into(&to, 1.0, false)));
    });
    let roof = MultiplyAdds::new(gpu).expect("the tensor fits");
    group.throughput(Throughput::Elements(MultiplyAdds::FLOP));
    group.bench_function("multiply-add (elements are FLOP)", |bencher| {
        bencher.iter_custom(|count| clock(gpu, count, || roof.run()));
    });
    let small = data(gpu, &[64]);
    group.throughput(Throughput::Elements(1));
    group.bench_function("dispatch", |bencher| {
        bencher.iter_custom(|count| clock(gpu, count, || small.fill(1.0)));
    });
    group.bench_function("dispatch, submission and wait", |bencher| {
        bencher
            .iter_custom(|count| clock(gpu, count, || small.fill(1.0).and_then(|()| pollster::block_on(gpu.finish()))));
    });
    group.finish();
}

fn matmuls(criterion: &mut Criterion, gpu: &Gpu) {
    let mut group = criterion.benchmark_group("matmul");
    let mut shapes = Vec::new();
    for size in [256, 512, 1024] {
        shapes.push(("nn", Shape::new(size, size, size)));
        shapes.push(("nt", Shape::new(size, size, size).trans_b()));
        shapes.push(("tn", Shape::new(size, size, size).trans_a()));
    }
    shapes.push(("nt", Shape::new(1024, 1536, 384).trans_b()));
    shapes.push(("nt", Shape::new(1, 2048, 512).trans_b()));
    for (form, shape) in shapes {
        let (a, b) = (data(gpu, &[shape.m * shape.k]), data(gpu, &[shape.k * shape.n]));
        let out = Tensor::empty_f32(gpu, &[shape.m * shape.n]).expect("the tensor fits");
        group.throughput(Throughput::Elements(shape.flops() as u64));
        for spec in matmul::variants::VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities(), &shape)) {
            let name = format!("{form} {}x{}x{} {}", shape.m, shape.n, shape.k, spec.name);
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|count| {
                    clock(gpu, count, || matmul_with(spec, shape, &a, &b, &out, Epilogue::default()))
                });
            });
        }
    }
    group.finish();
}

fn attentions(criterion: &mut Criterion, gpu: &Gpu) {
    let mut group = criterion.benchmark_group("attention");
    for (batch, context, query, dim) in [(12, 64, 4, 32), (4, 256, 6, 64)] {
        let heads = Heads { query, key_value: query, dim };
        let qkv = data(gpu, &[batch, context, heads.qkv_width()]);
        let grad = data(gpu, &[batch, context, query * dim]);
        let product = (batch * query * context * context * dim) as u64;
        for spec in attention::variants::VARIANTS.iter().filter(|spec| spec.fits(gpu.capabilities(), dim)) {
            let name = format!("{batch}x{context} {query}x{dim} {}", spec.name);
            group.throughput(Throughput::Elements(2 * product));
            group.bench_function(format!("forward {name}"), |bencher| {
                bencher.iter_custom(|count| {
                    clock(gpu, count, || attention::forward_with(spec, &qkv, heads, None).map(|_| ()))
                });
            });
            let forward = attention::forward_with(spec, &qkv, heads, None).expect("a forward pass");
            group.throughput(Throughput::Elements(5 * product));
            group.bench_function(format!("backward {name}"), |bencher| {
                bencher.iter_custom(|count| {
                    clock(gpu, count, || {
                        attention::backward_with(spec, &qkv, &forward.out, &forward.lse, &grad, heads, None).map(|_| ())
                    })
                });
            });
        }
    }
    group.finish();
}

fn row_kernels(criterion: &mut Criterion, gpu: &Gpu) {
    let mut group = criterion.benchmark_group("rows");
    let (rows, width) = (1024, 384);
    let (x, weight) = (data(gpu, &[rows, width]), data(gpu, &[width]));
    let bytes = (rows * width * 4) as u64;
    let targets: Vec<u32> = (0..rows as u32).map(|row| row * 7 % width as u32).collect();
    let targets = Targets::new(gpu, &targets).expect("targets");
    let stats = Tensor::empty_f32(gpu, &[rows, 4]).expect("the tensor fits");
    let (kind, weights) = (norm::Kind::Layer, norm::Weights { weight: &weight, bias: None });
    for plan in rows::PLANS.iter().filter(|plan| plan.fits(gpu, width)) {
        let forward = norm::forward(kind, &x, weights, 1e-5, DType::F32, *plan).expect("a forward pass");
        let grad = Tensor::empty_f32(gpu, &[rows, width]).expect("the tensor fits");
        group.throughput(Throughput::Bytes(2 * bytes));
        group.bench_function(format!("layernorm {}", plan.name), |bencher| {
            bencher.iter_custom(|count| {
                clock(gpu, count, || norm::forward(kind, &x, weights, 1e-5, DType::F32, *plan).map(|_| ()))
            });
        });
        group.bench_function(format!("softmax {}", plan.name), |bencher| {
            bencher.iter_custom(|count| clock(gpu, count, || softmax::forward(&x, *plan).map(|_| ())));
        });
        group.throughput(Throughput::Bytes(3 * bytes));
        group.bench_function(format!("layernorm backward {}", plan.name), |bencher| {
            bencher.iter_custom(|count| {
                clock(gpu, count, || norm::backward(kind, &x, &weight, &forward.stats, &x, (&grad, false), *plan))
            });
        });
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(format!("cross entropy {}", plan.name), |bencher| {
            bencher.iter_custom(|count| {
                clock(gpu, count, || head::accumulate(&x, &targets.ids, &stats, 0, Reading::LOSS, *plan))
            });
        });
    }
    group.finish();
}

fn flat_kernels(criterion: &mut Criterion, gpu: &Gpu) {
    let mut group = criterion.benchmark_group("flat");
    let length = 1 << 20;
    let bytes = 4 * length as u64;
    let [weight, gradient, m, v] = [(); 4].map(|()| data(gpu, &[length]));
    let state = optimizer::State { weight, gradient, m, v, half: None };
    let (norm, tape) = (data(gpu, &[1]), Tape::off(gpu));
    group.throughput(Throughput::Bytes(3 * bytes));
    group.bench_function("add", |bencher| {
        bencher.iter_custom(|count| clock(gpu, count, || elementwise::add(&tape, &state.m, &state.v).map(|_| ())));
    });
    group.bench_function("gelu backward", |bencher| {
        bencher.iter_custom(|count| clock(gpu, count, || activation::gelu_backward(&state.m, &state.v).map(|_| ())));
    });
    group.throughput(Throughput::Bytes(7 * bytes));
    group.bench_function("adamw", |bencher| {
        bencher.iter_custom(|count| clock(gpu, count, || optimizer::adamw(STILL, &state, &norm)));
    });
    group.finish();
}

/// Rooflines first, then the kernels that they limit.
pub fn bench(criterion: &mut Criterion, gpu: &Gpu) {
    roofline(criterion, gpu);
    matmuls(criterion, gpu);
    attentions(criterion, gpu);
    row_kernels(criterion, gpu);
    flat_kernels(criterion, gpu);
}
