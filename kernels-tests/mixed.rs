//! Mixed-precision training: f16 between layers, f32 wherever numbers are summed or kept.

use half::f16;
use wgpt::{
    gpu::Gpu,
    model::{Config, Gpt, config::Positions, gpt::Pass},
    train::{
        Settings,
        settings::{Common, Precision},
        trainer::{Outcome, Trainer},
    },
};

use crate::{device::device, training::batch};

fn settings(config: Config, precision: Precision) -> Settings {
    let recipe = Settings::recipe(config);
    Settings { common: Common { seed: 1, ..recipe.common }, batch: 3, precision, ..recipe }
}

fn trainer(gpu: &Gpu, settings: &Settings) -> Trainer {
    let model = Gpt::new(gpu, &settings.config, 4).expect("a model");
    Trainer::new(gpu, model, settings).expect("a trainer")
}

fn read(tensor: &wgpt::tensor::Tensor) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).expect("a readback")
}

fn step(trainer: &mut Trainer, settings: &Settings, number: u64) -> Outcome {
    let pending = trainer.step(&[batch(settings, number)]).expect("a step");
    let outcome = pollster::block_on(pending.outcome()).expect("an outcome");
    trainer.observe(number, &outcome).expect("a scale that helps");
    outcome
}

/// Both families, with everything that a block can have, odd sizes of vocabulary and context, dropout and checkpointing.
fn configurations() -> Vec<(Config, f32, bool)> {
    let (gpt2, llama) = (Config::gpt2(41, 13, 2, 4, 48), Config::llama(41, 13, 2, 4, 48));
    vec![
        (gpt2.clone(), 0.0, false),
        (Config { bias: false, tied: false, positions: Positions::Rotary, ..gpt2 }, 0.2, true),
        (llama.clone(), 0.0, true),
        (Config { kv_heads: 2, qk_norm: true, qkv_bias: true, ..llama }, 0.1, false),
    ]
}

#[test]
fn gradients_are_close_to_those_in_f32() {
    let device = device();
    if !device.gpu.capabilities().f16 {
        return println!("skipped: no f16 here");
    }
    for (config, dropout, checkpoint) in configurations() {
        let pass = Pass { dropout, dropout_key: 5, checkpoint, reference: false };
        let run = |precision| {
            let settings = settings(config.clone(), precision);
            let mut trainer = trainer(&device.gpu, &settings);
            let loss = trainer.accumulate(&batch(&settings, 1), pass, 1.0, true).expect("a pass");
            let scale = trainer.loss_scale.map_or(1.0, |loss| loss.scale);
            let gradient = |(name, weight): &(String, _)| {
                let gradient = trainer.gradients().get(weight).map(read).unwrap_or_default();
                (name.clone(), gradient.iter().map(|g| f64::from(g / scale)).collect::<Vec<_>>())
            };
            (read(&loss)[0], trainer.model.parameters().iter().map(gradient).collect::<Vec<_>>())
        };
        let ((single, exact), (mixed, rounded)) = (run(Precision::F32), run(Precision::F16));
        assert!((single - mixed).abs() < 1e-3, "{single} {mixed}: {config:?}");
        for ((name, exact), (_, rounded)) in exact.iter().zip(&rounded) {
            assert!(!exact.is_empty() && exact.len() == rounded.len(), "{name} has no gradient");
            let size: f64 = exact.iter().map(|g| g * g).sum();
            let error: f64 = exact.iter().zip(rounded).map(|(a, b)| (a - b).powi(2)).sum();
            let relative = (error / size).sqrt();
            assert!(relative < 0.02 && relative > 0.0, "{name} is off by {relative}: {config:?}");
        }
    }
}

#[test]
fn copies_follow_their_masters() {
    let device = device();
    if !device.gpu.capabilities().f16 {
        return println!("skipped: no f16 here");
    }
    let settings = settings(Config::gpt2(41, 13, 1, 4, 48), Precision::F16);
    let mut trainer = trainer(&device.gpu, &settings);
    for number in 0..3 {
        let losses = (step(&mut trainer, &settings, number), number);
        for ((name, master), half) in trainer.model.parameters().iter().zip(trainer.model.halves()) {
            let expected: Vec<_> = read(master).into_iter().map(|w| f16::from_f32(w).to_f32()).collect();
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs() + 1e-7;
            assert!(read(half).iter().zip(&expected).all(near), "{name} after {losses:?}");
        }
    }
}

#[test]
fn an_overflow_skips_its_step_and_lowers_the_scale() {
    let device = device();
    if !device.gpu.capabilities().f16 {
        return println!("skipped: no f16 here");
    }
    let settings = settings(Config::gpt2(41, 13, 1, 4, 48), Precision::F16);
    let mut trainer = trainer(&device.gpu, &settings);
    step(&mut trainer, &settings, 0);
    let weights = |trainer: &Trainer| -> Vec<_> {
        let moments = trainer.optimizer.state();
        trainer.model.parameters().iter().chain(&moments).flat_map(|(_, tensor)| read(tensor)).collect()
    };
    let before = weights(&trainer);
    if let Some(loss) = &mut trainer.loss_scale {
        loss.scale = 1e12;
    }
    let outcome = step(&mut trainer, &settings, 1);
    assert!(!outcome.norm.is_finite() && outcome.loss.is_finite(), "{outcome:?}");
    assert!(weights(&trainer) == before, "a step that overflows changes nothing");
    let loss = trainer.loss_scale.expect("mixed");
    assert_eq!((loss.scale, loss.skipped, trainer.optimizer.skipped), (5e11, 1, 1));
    if let Some(loss) = &mut trainer.loss_scale {
        loss.scale = 1024.0;
    }
    let outcome = step(&mut trainer, &settings, 1);
    assert!(outcome.norm.is_finite() && weights(&trainer) != before);
}

#[test]
fn steps_after_the_first_create_nothing() {
    let device = device();
    if !device.gpu.capabilities().f16 {
        return println!("skipped: no f16 here");
    }
    let settings = settings(Config::llama(41, 13, 2, 4, 48), Precision::F16);
    let mut trainer = trainer(&device.gpu, &settings);
    (0..2).for_each(|number| drop(step(&mut trainer, &settings, number)));
    let created = device.gpu.created();
    (2..5).for_each(|number| drop(step(&mut trainer, &settings, number)));
    assert_eq!(device.gpu.created(), created);
}
