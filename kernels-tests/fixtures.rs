//! Ten training steps of a tiny GPT-2 and a tiny Llama, compared with PyTorch (scripts/fixtures/make_gpt_fixtures.py).

use std::path::Path;

use wgpt::{
    gpu::Gpu,
    io::tensors::TensorFile,
    model::{Config, Gpt, gpt::Pass},
    ops::embedding::Tokens,
    optim::{Decay, Schedule},
    tape::Tape,
    tensor::Tensor,
    text::batches::Batch,
    train::{Settings, settings::Common, trainer::Trainer},
};

use crate::device::device;

const ROWS: usize = 3;
const CONTEXT: usize = 16;
const STEPS: usize = 10;
const WIDTH: usize = 32;
const LR: f32 = 1e-3;

/// A model and PyTorch's results for it.
struct Fixture {
    config: Config,
    file: TensorFile,
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

impl Fixture {
    fn open(name: &str, config: Config) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels-tests/fixtures/{name}.safetensors"));
        let file = TensorFile::open(&path).expect("the fixture");
        let ids = |name| file.to_f32(name).expect("ids").iter().map(|id| *id as u32).collect();
        Self { config, inputs: ids("inputs"), targets: ids("targets"), file }
    }

    fn gpt2() -> Self {
        Self::open("gpt2", Config::gpt2(61, CONTEXT, 2, 4, WIDTH))
    }

    fn llama() -> Self {
        Self::open("llama", Config { kv_heads: 2, hidden: 88, ..Config::llama(61, CONTEXT, 2, 4, WIDTH) })
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.file.to_f32(name).expect("the fixture has it")
    }

    /// The batch of a step, cut into micro-batches of `rows` windows.
    fn batches(&self, step: usize, rows: usize) -> Vec<Batch> {
        let size = rows * CONTEXT;
        let cut = |ids: &[u32], part: usize| ids[step * ROWS * CONTEXT + part * size..][..size].to_vec();
        let batch = |part| Batch {
            inputs: cut(&self.inputs, part),
            targets: cut(&self.targets, part),
            starts: None,
            rows,
            context: CONTEXT,
        };
        (0..ROWS / rows).map(batch).collect()
    }

    fn settings(&self, rows: usize, checkpoint_activations: bool) -> Settings {
        let recipe = Settings::recipe(self.config.clone());
        Settings {
            common: Common { checkpoint_activations, ..recipe.common },
            batch: rows,
            accumulate: ROWS / rows,
            schedule: Schedule { lr: LR, min_lr: LR, warmup: 0, steps: 10, decay: Decay::Cosine },
            ..recipe
        }
    }

    fn model(&self, gpu: &Gpu) -> Gpt {
        Gpt::build(gpu, &self.config, |spec| {
            let name = format!("init.{}", spec.name);
            assert_eq!(self.file.shape(&name)?, spec.shape, "{name}");
            self.file.to_f32(&name)
        })
        .expect("a model")
    }

    /// Loss and gradients of the first step, in micro-batches of `rows` windows.
    fn gradients(&self, gpu: &Gpu, rows: usize, checkpoint: bool) -> (f32, Vec<(String, Vec<f32>)>) {
        let mut trainer = Trainer::new(gpu, self.model(gpu), &self.settings(rows, checkpoint)).expect("a trainer");
        let batches = self.batches(0, rows);
        let share = 1.0 / batches.len() as f32;
        let mut loss = 0.0;
        for batch in &batches {
            let pass = Pass { checkpoint, ..Pass::default() };
            loss += read(&trainer.accumulate(batch, pass, share, true).expect("a backward pass"))[0] * share;
        }
        let gradient = |(name, tensor): &(String, Tensor)| {
            (name.clone(), read(trainer.gradients().get(tensor).expect("every parameter has a gradient")))
        };
        (loss, trainer.model.parameters().iter().map(gradient).collect())
    }

    /// Runs the ten steps and compares every loss and norm on the way, and every weight at the end.
    fn follow(&self, gpu: &Gpu, rows: usize, checkpoint: bool) {
        let settings = self.settings(rows, checkpoint);
        let mut trainer = Trainer::new(gpu, self.model(gpu), &settings).expect("a trainer");
        let (losses, norms) = (self.numbers("losses"), self.numbers("norms"));
        for step in 0..STEPS {
            let pending = trainer.step(&self.batches(step, rows)).expect("a step");
            let outcome = pollster::block_on(pending.outcome()).expect("an outcome");
            assert!((outcome.loss - losses[step]).abs() < 1e-4, "step {step}: {} != {}", outcome.loss, losses[step]);
            assert!((outcome.norm / norms[step] - 1.0).abs() < 1e-3, "step {step}: norm {}", outcome.norm);
        }
        for (name, tensor) in trainer.model.parameters() {
            let mut values = read(tensor);
            let expected = self.numbers(&format!("final.{name}"));
            if name.ends_with("attention.qkv.bias") {
                // A key's bias shifts all scores of a query alike, which softmax ignores, so its gradient is 0 except
                // for rounding, which Adam amplifies to steps of at most about the learning rate.
                let keys = WIDTH..2 * WIDTH;
                let drift = difference(name, &values[keys.clone()], &expected[keys.clone()]);
                assert!(drift <= 1.01 * STEPS as f32 * LR, "the biases of the keys moved by {drift}");
                values[keys.clone()].copy_from_slice(&expected[keys]);
            }
            let error = difference(name, &values, &expected);
            assert!(error < 1e-4, "{name} after ten steps is off by {error}");
        }
    }
}

fn read(tensor: &Tensor) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).expect("a readback")
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// The largest difference. A NaN fails here, because `f32::max` would skip it.
fn difference(name: &str, actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len(), "{name}");
    assert!(actual.iter().chain(expected).all(|x| x.is_finite()), "{name} has a value that is no number");
    actual.iter().zip(expected).fold(0.0, |most, (x, y)| most.max((x - y).abs()))
}

fn logits_equal(fixture: &Fixture) {
    let device = device();
    let model = fixture.model(&device.gpu);
    let tape = Tape::off(&device.gpu);
    let batch = &fixture.batches(0, ROWS)[0];
    let tokens = Tokens::new(&device.gpu, &batch.inputs, ROWS, CONTEXT, false).expect("tokens");
    let hidden = model.forward(&tape, &tokens, Pass::default(), None).expect("a forward pass");
    let logits = read(&model.logits(&tape, &hidden).expect("logits"));
    let error = difference("logits", &logits, &fixture.numbers("logits"));
    assert!(error < 1e-4, "the logits are off by {error}");
}

fn gradients_equal(fixture: &Fixture) {
    let device = device();
    let (loss, whole) = fixture.gradients(&device.gpu, ROWS, false);
    assert!((loss - fixture.numbers("losses")[0]).abs() < 1e-4, "{loss}");
    for (name, gradient) in &whole {
        let expected = fixture.numbers(&format!("grad.{name}"));
        let error = difference(name, gradient, &expected) / largest(&expected);
        assert!(error <= 1e-3, "the gradient of {name} is off by {error} of its largest element");
    }

    let (checkpointed_loss, checkpointed) = fixture.gradients(&device.gpu, ROWS, true);
    assert_eq!(checkpointed_loss.to_bits(), loss.to_bits());
    for ((name, whole), (_, checkpointed)) in whole.iter().zip(&checkpointed) {
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(whole) == bits(checkpointed), "activation checkpointing changes the gradient of {name}");
    }

    let (parts_loss, parts) = fixture.gradients(&device.gpu, 1, false);
    assert!((parts_loss - loss).abs() < 1e-5, "{parts_loss} in micro-batches, {loss} in one");
    for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
        let error = difference(name, parts, whole) / largest(whole);
        assert!(error < 1e-5, "micro-batches change the gradient of {name} by {error} of its largest element");
    }
}

#[test]
fn gpt2_logits() {
    logits_equal(&Fixture::gpt2());
}

#[test]
fn llama_logits() {
    logits_equal(&Fixture::llama());
}

#[test]
fn gpt2_gradients() {
    gradients_equal(&Fixture::gpt2());
}

#[test]
fn llama_gradients() {
    gradients_equal(&Fixture::llama());
}

#[test]
fn gpt2_trajectory() {
    Fixture::gpt2().follow(&device().gpu, ROWS, false);
}

#[test]
fn llama_trajectory() {
    Fixture::llama().follow(&device().gpu, ROWS, false);
}

#[test]
fn checkpointed_trajectory() {
    Fixture::llama().follow(&device().gpu, ROWS, true);
}

#[test]
fn trajectory_in_micro_batches() {
    Fixture::gpt2().follow(&device().gpu, 1, false);
}
