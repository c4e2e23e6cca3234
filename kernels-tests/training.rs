//! Properties of whole training steps.

use wgpt::{
    model::{Config, Gpt, config::Positions},
    ops::{
        attention::{self, Heads},
        matmul::{self, Shape},
        rows, tuning,
    },
    optim::{Decay, Schedule},
    random,
    tensor::DType,
    text::batches::Batch,
    train::{Settings, settings::Common, trainer::Trainer},
};

use crate::device::device;

fn settings(config: Config, batch: usize) -> Settings {
    let schedule = Schedule { lr: 1e-3, min_lr: 1e-4, warmup: 0, steps: 10, decay: Decay::Cosine };
    let recipe = Settings::recipe(config);
    Settings { common: Common { seed: 1, ..recipe.common }, batch, schedule, ..recipe }
}

/// Random tokens in the batch size and context of `settings`.
pub fn batch(settings: &Settings, counter: u64) -> Batch {
    let (rows, context) = (settings.batch, settings.context);
    let vocabulary = settings.config.vocabulary as u64;
    let draw =
        |stream| (0..(rows * context) as u64).map(|i| random::below(counter, stream, i, vocabulary) as u32).collect();
    Batch { inputs: draw(1), targets: draw(2), starts: None, rows, context }
}

#[test]
fn steps_after_the_first_create_nothing() {
    let device = device();
    let gpu = &device.gpu;
    for config in [Config::gpt2(65, 64, 2, 4, 64), Config::llama(65, 33, 2, 4, 64)] {
        let settings = settings(config, 3);
        let model = Gpt::new(gpu, &settings.config, 1).expect("a model");
        let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
        trainer.rehearse(&[batch(&settings, 0)]).expect("a rehearsal");
        let mut step = |counter| {
            let pending = trainer.step(&[batch(&settings, counter)]).expect("a step");
            pollster::block_on(pending.outcome()).expect("an outcome")
        };
        step(0);
        let before = gpu.created();
        for counter in 1..4 {
            assert!(step(counter).loss.is_finite());
        }
        assert_eq!(gpu.created(), before, "{:?}", settings.config);
    }
}

#[test]
fn dropout_and_checkpointing_train_the_same_twice() {
    let device = device();
    let config = Config::llama(50, 16, 2, 4, 32);
    let run = |checkpoint_activations| {
        let settings = settings(config.clone(), 2);
        let common = Common { checkpoint_activations, ..settings.common };
        let settings = Settings { dropout: 0.2, common, ..settings };
        let model = Gpt::new(&device.gpu, &settings.config, 5).expect("a model");
        let mut trainer = Trainer::new(&device.gpu, model, &settings).expect("a trainer");
        let step = |counter| {
            let pending = trainer.step(&[batch(&settings, counter)]).expect("a step");
            pollster::block_on(pending.outcome()).expect("an outcome").loss.to_bits()
        };
        (0..5).map(step).collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(false), "the same seed gives the same bits");
    assert_eq!(run(false), run(true), "activation checkpointing changes no bit");
}

#[test]
fn accumulated_micro_batches_equal_one_batch() {
    let device = device();
    let config = Config::gpt2(50, 16, 2, 4, 32);
    let whole = settings(config.clone(), 4);
    let single = Settings { accumulate: 4, ..settings(config, 1) };
    let run = |settings: &Settings| {
        let model = Gpt::new(&device.gpu, &settings.config, 5).expect("a model");
        let mut trainer = Trainer::new(&device.gpu, model, settings).expect("a trainer");
        let step = |counter| {
            let all = batch(&whole, counter);
            let cut =
                |ids: &[u32], part: usize| ids[part * 64 / settings.accumulate..][..64 / settings.accumulate].to_vec();
            let parts: Vec<_> = (0..settings.accumulate)
                .map(|part| Batch {
                    inputs: cut(&all.inputs, part),
                    targets: cut(&all.targets, part),
                    starts: None,
                    rows: settings.batch,
                    context: 16,
                })
                .collect();
            pollster::block_on(trainer.step(&parts).expect("a step").outcome()).expect("an outcome")
        };
        (0..4).map(step).collect::<Vec<_>>()
    };
    for (whole, parts) in run(&whole).iter().zip(run(&single)) {
        assert!((whole.loss - parts.loss).abs() < 1e-5, "{whole:?} {parts:?}");
        assert!((whole.norm - parts.norm).abs() < 1e-4 * whole.norm, "{whole:?} {parts:?}");
    }
}

/// Both families with every kind of position, grouped queries, tied and untied heads, with and without biases.
#[test]
fn every_configuration_learns_a_batch() {
    let device = device();
    let families = [Config::gpt2(40, 12, 2, 4, 32), Config::llama(40, 12, 2, 4, 32)];
    for family in families {
        for positions in [Positions::Learned, Positions::Sinusoidal, Positions::Rotary] {
            for (kv_heads, tied, bias) in [(4, true, true), (2, false, false), (1, true, false)] {
                let config = Config { positions, kv_heads, tied, bias, ..family.clone() };
                let mut settings = settings(config, 2);
                settings.schedule.lr = 1e-2;
                let model = Gpt::new(&device.gpu, &settings.config, 3).expect("a model");
                let mut trainer = Trainer::new(&device.gpu, model, &settings).expect("a trainer");
                let mut step = || {
                    let pending = trainer.step(&[batch(&settings, 8)]).expect("a step");
                    pollster::block_on(pending.outcome()).expect("an outcome").loss
                };
                let (first, last) = (step(), (0..8).map(|_| step()).last().expect("steps"));
                assert!(
                    (first - 40f32.ln()).abs() < 0.3 && last < 0.8 * first,
                    "{first} {last}: {:?}",
                    settings.config
                );
            }
        }
    }
}

/// The embedding takes 147 MiB, more than the 128 MiB that many adapters bind at once.
#[test]
fn a_step_of_gpt2_124m_works() {
    let device = device();
    let gpu = &device.gpu;
    let config = Config { context: 64, ..Config::gpt2(50_257, 1024, 12, 12, 768) };
    let settings = settings(config, 1);
    let mut stream = 0;
    let model = Gpt::build(gpu, &settings.config, |spec| {
        stream += 1;
        let elements: usize = spec.shape.iter().product();
        let small = |i: usize| (random::bits(9, stream, i as u64) >> 40) as f32 / (1 << 24) as f32 * 0.06 - 0.03;
        let norm = spec.name.contains("norm") && spec.name.ends_with("weight");
        Ok((0..elements).map(|i| if norm { 1.0 } else { small(i) }).collect())
    })
    .expect("a model");
    assert_eq!(model.size(), 124_439_808 - (1024 - 64) * 768);
    gpu.poison(false);
    let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
    let mut step = || {
        let pending = trainer.step(&[batch(&settings, 3)]).expect("a step");
        pollster::block_on(pending.outcome()).expect("an outcome")
    };
    let (first, second) = (step(), step());
    gpu.poison(true);
    assert!((first.loss - (50_257f32).ln()).abs() < 1.0, "{first:?}");
    assert!(second.loss < first.loss && first.norm.is_finite(), "the same batch again: {first:?} {second:?}");
    drop(trainer);
    gpu.trim();
}

/// One class of each operation is tuned; the choice is among the variants that fit, and is the fastest that passes.
#[test]
fn the_tuner_answers_its_questions() {
    let device = device();
    let gpu = &device.gpu;
    // No other test uses these classes. A run of another test may have settled its choices.
    gpu.tuner().begin();
    let shape = Shape::new(200, 36, 300).trans_b();
    matmul::choose(gpu, shape);
    rows::Plan::choose(gpu, 3000, 9);
    attention::variants::choose(gpu, Heads { query: 2, key_value: 1, dim: 20 }, 9, DType::F32);
    let timings = pollster::block_on(tuning::answer(gpu, None, |_, _, _| {})).expect("tuned");
    assert!(gpu.tuner().open().is_empty());
    let choices = gpu.tuner().choices();
    for class in ["matmul nt 256x48x512", "rows 4096x16", "attention 16x20"] {
        let of_class = || timings.iter().filter(|timing| timing.class == class && timing.seconds.is_some());
        let fastest = of_class().min_by(|a, b| a.seconds.partial_cmp(&b.seconds).expect("times compare"));
        assert!(of_class().count() > 1, "{class} has variants");
        assert_eq!(choices.get(class).map(String::as_str), fastest.map(|timing| timing.variant), "{class}");
    }
    assert_eq!(matmul::choose(gpu, shape).name, choices["matmul nt 256x48x512"]);
}
