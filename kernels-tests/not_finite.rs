//! The cause of numbers that are not finite is found, not guessed.

use wgpt::{
    Error,
    error::Origin,
    formats::{self, Format, Rows},
    gpu::Gpu,
    infer::{
        batch,
        engine::{self, Engine, request::Event},
        generate::{Limits, generate},
        session::Session,
    },
    model::{Config, Gpt, Source, build::Storage, config::Positions, origin},
    ops::weight::Weight,
    tensor::Tensor,
    train::{
        Settings,
        settings::{Common, Precision},
        trainer::{Part, Trainer},
    },
};

use crate::{
    device::device,
    engine_support::{configs, greedy, request},
    training,
};

fn settings(config: Config, precision: Precision) -> Settings {
    let recipe = Settings::recipe(config);
    Settings { common: Common { seed: 1, ..recipe.common }, batch: 3, precision, ..recipe }
}

fn trainer(gpu: &Gpu, settings: &Settings) -> Trainer {
    Trainer::new(gpu, Gpt::new(gpu, &settings.config, 4).expect("a model"), settings).expect("a trainer")
}

fn read(tensor: &Tensor) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).expect("a readback")
}

/// Replaces one element of a weight.
fn put(weights: &[(String, Weight)], name: &str, at: usize, value: f32) {
    let weight = weights.iter().find(|(other, _)| other == name).map(|(_, weight)| weight.plain().expect("f32"));
    let weight = weight.unwrap_or_else(|| panic!("no {name}"));
    let mut values = read(&weight);
    values[at] = value;
    weight.write(&values).expect("the weight");
}

/// The origin of a step's numbers.
fn origin_of(trainer: &mut Trainer, settings: &Settings, factor: f32) -> Option<Origin> {
    let again = |trainer: &mut Trainer| {
        let pass = trainer.pass(0, 1);
        let part = trainer.accumulate(&training::batch(settings, 0), pass, factor, true)?;
        trainer.update(vec![Part::new(part.read(), 1.0)], &[]).map(|_| ())
    };
    pollster::block_on(trainer.origin(0, true, again)).expect("an origin")
}

fn family(odd: bool) -> Config {
    let config = Config::gpt2(41, 13, 2, 4, 48);
    match odd {
        true => Config { kv_heads: 2, qk_norm: true, qkv_bias: true, ..Config::llama(41, 13, 2, 4, 48) },
        false => Config { positions: Positions::Sinusoidal, ..config },
    }
}

#[test]
fn a_sound_step_has_no_such_numbers() {
    let device = device();
    let gpu = &device.gpu;
    for (odd, precision) in
        [(false, Precision::F32), (true, Precision::F32), (false, Precision::F16), (true, Precision::F16)]
    {
        if precision == Precision::F16 && !gpu.capabilities().f16 {
            println!("skipped: no f16 here");
            continue;
        }
        let settings = settings(family(odd), precision);
        let mut trainer = trainer(gpu, &settings);
        let scale = trainer.loss_scale.map_or(1.0, |_| 1.0 / 65_536.0);
        assert_eq!(origin_of(&mut trainer, &settings, scale), Some(Origin::Vanished), "{precision:?}");
    }
}

#[test]
fn a_broken_weight_is_named() {
    let device = device();
    let gpu = &device.gpu;
    for (odd, name) in
        [(false, "blocks.1.mlp.up.bias"), (true, "blocks.0.attention.k_norm.weight"), (true, "embed.weight")]
    {
        for value in [f32::NAN, f32::NEG_INFINITY] {
            let settings = settings(family(odd), Precision::F32);
            let mut trainer = trainer(gpu, &settings);
            put(&trainer.model.weights(), name, 3, value);
            let found = origin_of(&mut trainer, &settings, 1.0);
            assert_eq!(found, Some(Origin::Weight { name: name.to_string(), given: true }));
        }
    }
}

#[test]
fn the_first_computation_that_overflows_is_named() {
    let device = device();
    let gpu = &device.gpu;
    let settings = settings(family(true), Precision::F32);
    let mut trainer = trainer(gpu, &settings);
    // Normalised inputs above 1.2 are too large for it.
    put(&trainer.model.weights(), "blocks.1.mlp.up.weight", 7, 3e38);
    let found = origin_of(&mut trainer, &settings, 1.0);
    let Some(Origin::Computed { kernel, after, part }) = found else { panic!("{found:?}") };
    assert_eq!((part.as_str(), after.as_deref()), ("forward pass", Some("blocks.1.mlp.up.weight")));
    assert!(kernel.starts_with("matmul"), "{kernel}");
    // Losses of this size have gradients that are finite but whose squares are not, and infinite ones have neither.
    for (factor, expected) in [(3e38, "update"), (f32::INFINITY, "backward pass")] {
        let mut trainer = self::trainer(gpu, &settings);
        let found = origin_of(&mut trainer, &settings, factor);
        let Some(Origin::Computed { part, .. }) = found else { panic!("{found:?}") };
        assert_eq!(part, expected);
    }
}

/// In f32 too, so that what failed can be run again.
#[test]
fn a_step_whose_gradient_is_not_finite_changes_nothing() {
    let device = device();
    let gpu = &device.gpu;
    let settings = settings(family(true), Precision::F32);
    let mut trainer = trainer(gpu, &settings);
    let state = |trainer: &Trainer| {
        let weights: Vec<_> = trainer.model.parameters().iter().map(|(_, tensor)| read(tensor)).collect();
        let moments: Vec<_> = trainer.optimizer.state().iter().map(|(_, tensor)| read(tensor)).collect();
        (weights, moments)
    };
    let mut step = |factor| {
        trainer.accumulate(&training::batch(&settings, 0), trainer.pass(0, 1), factor, true).expect("a pass");
        let before = state(&trainer);
        let outcome =
            pollster::block_on(trainer.update(Vec::new(), &[]).expect("an update").outcome()).expect("numbers");
        let error = trainer.observe(7, &outcome).err().map(|error| error.to_string());
        (outcome.norm, before == state(&trainer), error)
    };
    let (norm, same, error) = step(3e38);
    assert!(!norm.is_finite() && same, "{norm}");
    assert!(error.is_some_and(|error| error.contains("step 7: the gradient norm is")));
    let (norm, same, error) = step(1.0);
    assert!(norm.is_finite() && !same && error.is_none(), "{norm}");
}

#[test]
fn a_text_that_cannot_be_written_names_the_weight() {
    let device = device();
    let gpu = &device.gpu;
    for config in configs() {
        let model = Gpt::new(gpu, &config, 11).expect("a model");
        put(&model.weights(), "blocks.1.attention.out.weight", 5, f32::NAN);
        let mut session = Session::new(gpu, &model).expect("a session");
        let limits = Limits { count: 3, ..Limits::default() };
        let sampling = greedy();
        let text = generate(&mut session, &[1, 2, 3], limits, &sampling, |_, _| (), |_| true);
        let error = pollster::block_on(text).expect_err("scores that are not numbers");
        assert_eq!(
            error.to_string(),
            "the model's scores are not numbers: blocks.1.attention.out.weight holds numbers that are not finite"
        );
        let requests = [&[4, 5][..], &[1, 2, 3]].map(|prompt| batch::Request { prompt, episode: 0 });
        let limits = batch::Limits { count: 2, stops: &[], earliest: 0, width: 0 };
        let texts = batch::continue_all(gpu, &model, &requests, limits, &sampling, |_| ());
        assert_eq!(pollster::block_on(texts).expect_err("of many texts").to_string(), error.to_string());
        let settings = engine::Settings { tokens: 640, ..engine::Settings::default() };
        let mut engine = Engine::new(gpu.clone(), model, Vec::new(), settings).expect("an engine");
        for _ in 0..2 {
            let (request, heard) = request(&[1, 2, 3], 3, greedy(), usize::MAX);
            engine.submit(request).expect("a place");
            while pollster::block_on(engine.step()).expect("a step") {}
            assert!(matches!(heard.last(), Some(Event::Failed(reason)) if reason == error.to_string()));
        }
    }
}

/// The scales of a quantised matrix are numbers too.
#[test]
fn a_broken_scale_of_a_quantised_weight_is_found() {
    let device = device();
    let gpu = &device.gpu;
    let plain = Gpt::new(gpu, &Config::llama(64, 32, 1, 2, 32), 3).expect("a model");
    struct Quantised(Gpt);
    impl Source for Quantised {
        fn config(&self) -> &Config {
            self.0.config()
        }
        fn parameter(&self, wanted: &str) -> wgpt::Result<Vec<Rows<'_>>> {
            let (_, tensor) = self.0.parameters().iter().find(|(name, _)| name == wanted).expect("a parameter");
            let (values, width, rows) = (read(tensor), tensor.width(), tensor.height());
            let rows = |format, bytes: Vec<u8>| vec![Rows { format, rows, width, bytes: bytes.into() }];
            if wanted != "blocks.0.mlp.up.weight" {
                return Ok(rows(Format::F32, bytemuck::cast_slice(&values).to_vec()));
            }
            let mut bytes = formats::quantise(Format::Q8_0, &values)?;
            // The second block's scale, an f16.
            bytes[34..36].copy_from_slice(&half::f16::NAN.to_le_bytes());
            Ok(rows(Format::Q8_0, bytes))
        }
    }
    let model = Gpt::frozen(gpu, &Quantised(plain), Storage::AsStored, |_, _| ()).expect("a model");
    let found = pollster::block_on(origin::broken_weight(gpu, &model.weights())).expect("a search");
    assert_eq!(found.as_deref(), Some("blocks.0.mlp.up.weight"));
    let mut session = Session::new(gpu, &model).expect("a session");
    let limits = Limits { count: 1, ..Limits::default() };
    let sampling = greedy();
    let text = generate(&mut session, &[1], limits, &sampling, |_, _| (), |_| true);
    let error = pollster::block_on(text).expect_err("scores that are not numbers");
    assert!(matches!(error, Error::NotNumbers { origin: Some(Origin::Weight { .. }), .. }), "{error}");
}
