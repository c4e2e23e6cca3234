//! Low-rank adapters: the layer compared with its oracle, and models trained with them.

use std::{collections::BTreeMap, path::PathBuf};

use wgpt::{
    Result,
    doctor::reference::{
        lora::{self as oracle, Sizes},
        pointwise,
    },
    formats::{Format, Rows, quantise},
    gpu::Gpu,
    model::{
        Config, Gpt, Source,
        build::Storage,
        cache::Cache,
        gpt::Pass,
        lora::{Base, Lora, LoraConfig, Target},
        parameters,
    },
    ops::{
        embedding::Tokens,
        linear::{Fuse, linear},
        lora::Adapter,
        packed::Packed,
        weight::Weight,
    },
    random,
    tape::{Gradients, Tape},
    tensor::Tensor,
    text::batches::Batch,
    train::{Settings, trainer::Trainer},
};

use crate::{
    device::device,
    support::{assert_close, data, to_f64},
};

fn read(tensor: &Tensor) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).expect("a readback")
}

/// Adapters of rank 4 with alpha 8 for `targets`, with a base that does not exist as a file.
fn lora(targets: &str) -> Lora {
    let config = LoraConfig { rank: 4, alpha: 8.0, targets: Target::parse(targets).expect("targets"), last: None };
    Lora { config, base: Base { path: PathBuf::new(), fingerprint: String::new() } }
}

/// Attaches adapters whose B is not 0.
fn attach(model: &mut Gpt, lora: Lora) {
    let mut stream = 0;
    let values = |spec: &parameters::ParameterSpec| -> Result<Vec<f32>> {
        stream += 1;
        Ok(data(stream, spec.shape.iter().product()).iter().map(|value| value * 0.1).collect())
    };
    model.attach_lora(lora, values).expect("adapters");
}

/// Forward and backward, with plain and packed weights, few and many rows, and everything that can be fused.
#[test]
fn the_layer_agrees_with_its_oracle() {
    let device = device();
    let gpu = &device.gpu;
    for (rows, width, features, rank) in [(1, 32, 7, 1), (5, 64, 33, 3), (70, 96, 40, 8)] {
        let sizes = Sizes { rows, width, features, rank };
        let (x, w, a, b) =
            (data(1, rows * width), data(2, features * width), data(3, rank * width), data(4, features * rank));
        let (bias, residual, grad) = (data(5, features), data(6, rows * features), data(7, rows * features));
        let upload = |shape: &[usize], values: &[f32]| Tensor::from_f32(gpu, shape, values).expect("a tensor");
        let bytes = quantise(Format::Q8_0, &w).expect("a format").into();
        let stored = Rows { format: Format::Q8_0, rows: features, width, bytes };
        let packed = Weight::Packed(Packed::new(gpu, std::slice::from_ref(&stored)).expect("packed"));
        let scale = 0.75;
        for (weight, w) in [(Weight::Plain(upload(&[features, width], &w)), w.clone()), (packed, stored.to_f32())] {
            let [x64, w64, a64, b64] = [&x, &w, &a, &b].map(|values| to_f64(values));
            let sums: Vec<f64> = oracle::forward(sizes, &x64, &w64, &a64, &b64, scale)
                .iter()
                .enumerate()
                .map(|(i, sum)| sum + f64::from(bias[i % features]))
                .collect();
            for gelu in [false, true] {
                let (expected, inner): (Vec<f64>, Vec<f64>) = if gelu {
                    (
                        sums.iter().map(|x| pointwise::gelu(*x)).collect(),
                        pointwise::gelu_backward(&sums, &to_f64(&grad)),
                    )
                } else {
                    (sums.iter().zip(&residual).map(|(sum, r)| sum + f64::from(*r)).collect(), to_f64(&grad))
                };
                let back = oracle::backward(sizes, &x64, &w64, &a64, &b64, scale, &inner);
                let (x, bias, residual) =
                    (upload(&[rows, width], &x), upload(&[features], &bias), upload(&[rows, features], &residual));
                let adapter = Adapter { a: upload(&[rank, width], &a), b: upload(&[features, rank], &b), scale: 0.75 };
                let residual = (!gelu).then_some(&residual);
                let fuse = Fuse { bias: Some(&bias), gelu, residual, adapter: Some(&adapter) };
                let what = format!("{sizes:?} gelu {gelu} packed {}", matches!(weight, Weight::Packed(_)));
                let close = |name: &str, actual: &Tensor, expected: &[f64], depth: usize| {
                    assert_close(
                        &format!("{name} {what}"),
                        &read(actual),
                        expected,
                        1e-5 * (depth as f64).sqrt(),
                        1e-4,
                    );
                };
                let off = linear(&Tape::off(gpu), &x, &weight, fuse).expect("a product");
                close("y without a tape", &off, &expected, width);
                let tape = Tape::new(gpu);
                [&x, &adapter.a, &adapter.b].into_iter().for_each(|leaf| tape.watch(leaf));
                let out = linear(&tape, &x, &weight, fuse).expect("a product");
                close("y", &out, &expected, width);
                let mut gradients = Gradients::default();
                let grad = upload(&[rows, features], &grad);
                tape.backward(&out, grad, &mut gradients).expect("a backward pass");
                let gradient = |leaf: &Tensor| gradients.get(leaf).expect("a gradient").clone();
                close("dx", &gradient(&x), &back.x, features);
                close("dA", &gradient(&adapter.a), &back.a, rows * features);
                close("dB", &gradient(&adapter.b), &back.b, rows * width);
            }
        }
    }
}

/// Random weights as a file could hold them: matrices in `format`, vectors in f32.
struct Stored {
    config: Config,
    format: Format,
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl Stored {
    fn new(config: Config, format: Format) -> Self {
        let tensor = |(stream, spec): (usize, parameters::ParameterSpec)| {
            let values = spec.values(11, stream as u64);
            let stored = if spec.shape.len() == 2 { format } else { Format::F32 };
            (spec.name, (spec.shape, quantise(stored, &values).expect("whole blocks")))
        };
        let tensors = parameters::specs(&config).into_iter().enumerate().map(tensor).collect();
        Self { config, format, tensors }
    }
}

impl Source for Stored {
    fn config(&self) -> &Config {
        &self.config
    }

    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>> {
        let Some((shape, bytes)) = self.tensors.get(name) else { return Ok(Vec::new()) };
        let (format, rows, width) = match shape[..] {
            [rows, width] => (self.format, rows, width),
            _ => (Format::F32, 1, shape[0]),
        };
        Ok(vec![Rows { format, rows, width, bytes: bytes.into() }])
    }
}

fn batch(config: &Config, rows: usize, seed: u64) -> Batch {
    let vocabulary = config.vocabulary as u64;
    let draw = |stream| {
        let id = |i| random::below(seed, stream, i, vocabulary) as u32;
        (0..(rows * config.context) as u64).map(id).collect()
    };
    Batch { inputs: draw(1), targets: draw(2), rows, context: config.context, starts: None }
}

fn logits(gpu: &Gpu, model: &Gpt, ids: &[u32], pass: Pass) -> Vec<f32> {
    let tape = Tape::off(gpu);
    let tokens = Tokens::new(gpu, ids, 1, ids.len(), false).expect("tokens");
    let hidden = model.forward(&tape, &tokens, pass, None).expect("a forward pass");
    read(&model.logits(&tape, &hidden).expect("logits"))
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |most, (a, b)| if (a - b).is_finite() { most.max((a - b).abs()) } else { f32::INFINITY })
}

/// Loss and the adapters' gradients are the same with packed weights and with the same weights unpacked, with
/// activations kept or computed again; without its adapters the model equals its base, bit for bit.
#[test]
fn packed_and_plain_bases_agree() {
    let device = device();
    let gpu = &device.gpu;
    for config in [Config::gpt2(40, 12, 2, 4, 64), Config { kv_heads: 2, ..Config::llama(40, 12, 2, 4, 64) }] {
        let stored = Stored::new(config.clone(), Format::Q4_1);
        let settings = Settings::recipe(config.clone());
        let ids = batch(&config, 1, 3).inputs;
        let run = |mut model: Gpt, checkpoint| {
            let before = logits(gpu, &model, &ids, Pass::default());
            attach(&mut model, lora("all"));
            let reference = logits(gpu, &model, &ids, Pass { reference: true, ..Pass::default() });
            assert!(before.iter().zip(&reference).all(|(a, b)| a.to_bits() == b.to_bits()), "{config:?}");
            assert!(worst(&before, &logits(gpu, &model, &ids, Pass::default())) > 1e-3, "adapters do something");
            let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
            let pass = Pass { checkpoint, ..Pass::default() };
            let loss = trainer.accumulate(&batch(&config, 2, 3), pass, 1.0, true).expect("a backward pass");
            let mut values = read(&loss);
            for (name, tensor) in trainer.model.parameters() {
                let gradient = trainer.gradients().get(tensor).unwrap_or_else(|| panic!("no gradient of {name}"));
                values.extend(read(gradient));
            }
            values
        };
        let packed = || Gpt::frozen(gpu, &stored, Storage::AsStored, |_, _| ()).expect("a model");
        let plain = run(Gpt::from_source(gpu, &stored).expect("a model"), false);
        let found = [run(packed(), false), run(packed(), true)];
        assert!(plain.len() > 1000 && plain[1..].iter().fold(0.0f32, |most, x| most.max(x.abs())) > 1e-2);
        assert!(worst(&plain, &found[0]) < 1e-5, "{}", worst(&plain, &found[0]));
        assert_eq!(found[0], found[1], "activation checkpointing changes no bit");
    }
}

/// Overfitting one batch with a packed base: the loss falls, only the adapters change, and decoding token by token
/// gives the same as the whole text.
#[test]
fn only_adapters_learn() {
    let device = device();
    let gpu = &device.gpu;
    let config = Config::llama(40, 12, 2, 4, 64);
    let stored = Stored::new(config.clone(), Format::Q8_0);
    let mut settings = Settings::recipe(config.clone());
    settings.schedule.warmup = 0;
    settings.schedule.lr = 1e-2;
    let base = || Gpt::frozen(gpu, &stored, Storage::AsStored, |_, _| ()).expect("a model");
    let model = base().with_lora(lora("all"), 1).expect("adapters");
    let ids = batch(&config, 1, 5).inputs;
    let before = logits(gpu, &model, &ids, Pass { reference: true, ..Pass::default() });
    assert_eq!(before, logits(gpu, &model, &ids, Pass::default()), "B starts as 0");
    assert_eq!(model.parameters().len(), 2 * 4 * 2);
    let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
    let mut step = || {
        let pending = trainer.step(&[batch(&config, 2, 5)]).expect("a step");
        pollster::block_on(pending.outcome()).expect("an outcome").loss
    };
    let (first, last) = (step(), (0..30).map(|_| step()).last().expect("steps"));
    assert!((first - 40f32.ln()).abs() < 0.3 && last < 0.75 * first, "{first} {last}");
    let model = &trainer.model;
    assert_eq!(before, logits(gpu, model, &ids, Pass { reference: true, ..Pass::default() }), "the base has not moved");
    let whole = logits(gpu, model, &ids, Pass::default());
    let tape = Tape::off(gpu);
    let mut cache = Cache::new(gpu, &config, 1, 12).expect("a cache");
    let mut rows = Vec::new();
    for id in &ids {
        let tokens = Tokens::new(gpu, &[*id], 1, 1, false).expect("tokens");
        let hidden = model.forward(&tape, &tokens, Pass::default(), Some(&mut cache)).expect("a forward pass");
        rows.extend(read(&model.logits(&tape, &hidden).expect("logits")));
    }
    assert!(worst(&whole, &rows) < 1e-4, "{}", worst(&whole, &rows));
}
