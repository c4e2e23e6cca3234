//! RLHF losses through a whole model, and the gradients of all its parameters, compared with PyTorch
//! (scripts/fixtures/make_rlhf_fixtures.py).

use std::path::Path;

use wgpt::{
    gpu::Gpu,
    io::tensors::TensorFile,
    model::{
        Config, Gpt, Model,
        gpt::Pass,
        heads::{ScalarHead, Start},
    },
    ops::{
        cross_entropy::{IGNORED, Targets},
        embedding::Tokens,
        gather::RowIndex,
        losses::{
            RowWeights,
            choice::choice_loss,
            pairs::{self, Pairs, pair_loss},
            policy::{self, Policy, policy_loss},
            value::{self, squared_error, value_loss},
            weighted_sum,
        },
        row_sum::weighted_row_sum,
        token_logprobs::TokenLogprobs,
    },
    tape::{Gradients, Tape},
    tensor::Tensor,
};

use crate::device::device;

const TEXTS: usize = 8;
const TOKENS: usize = 12;
const TEMPERATURE: f32 = 0.7;
const CLIP: f32 = 0.2;

fn read(tensor: &Tensor) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).expect("a readback")
}

fn close(name: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (i, (x, y)) in actual.iter().zip(expected).enumerate() {
        // This comparison is false for NaN, unlike its negation.
        let equal = (x - y).abs() <= 1e-5 + 1e-4 * y.abs();
        assert!(equal, "{name}[{i}] is {x}, PyTorch says {y}");
    }
}

/// The model, its scalar head, the batch, and PyTorch's results for them.
struct Fixture {
    gpu: Gpu,
    file: TensorFile,
    model: Gpt,
    head: ScalarHead,
    targets: Vec<u32>,
}

impl Fixture {
    fn open(gpu: &Gpu) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/rlhf.safetensors");
        let file = TensorFile::open(&path).expect("the fixture");
        let config = Config { kv_heads: 1, hidden: 16, ..Config::gpt2(13, TOKENS, 2, 4, 32) };
        let model = Gpt::build(gpu, &config, |spec| file.to_f32(&format!("init.{}", spec.name))).expect("a model");
        let head = ScalarHead::new(gpu, 32, Start::Zeros).expect("a head");
        head.weight.write(&file.to_f32("init.head.weight").expect("weights")).expect("of this shape");
        head.bias.write(&file.to_f32("init.head.bias").expect("a bias")).expect("of this shape");
        let id = |id: &f32| if *id < 0.0 { IGNORED } else { *id as u32 };
        let targets = file.to_f32("targets").expect("targets").iter().map(id).collect();
        Self { gpu: gpu.clone(), file, model, head, targets }
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.file.to_f32(name).expect("the fixture has it")
    }

    fn integers(&self, name: &str) -> Vec<u32> {
        self.numbers(name).iter().map(|x| *x as u32).collect()
    }

    /// One number per token, per text or per pair, uploaded with this shape.
    fn upload(&self, name: &str, shape: &[usize]) -> Tensor {
        Tensor::from_f32(&self.gpu, shape, &self.numbers(name)).expect("a tensor")
    }

    fn tokens(&self, name: &str) -> Tensor {
        self.upload(name, &[TEXTS * TOKENS])
    }

    fn counts(&self) -> Vec<bool> {
        self.targets.iter().map(|id| *id != IGNORED).collect()
    }

    fn weights(&self) -> RowWeights {
        RowWeights::mean(&self.gpu, &self.counts()).expect("weights")
    }

    fn hidden(&self, tape: &Tape) -> Tensor {
        let tokens = Tokens::new(&self.gpu, &self.integers("ids"), TEXTS, TOKENS, true).expect("tokens");
        self.model.forward(tape, &tokens, Pass::default(), None).expect("a forward pass")
    }

    fn logprobs(&self, tape: &Tape, hidden: &Tensor, temperature: f32) -> TokenLogprobs {
        let targets = Targets::new(&self.gpu, &self.targets).expect("targets");
        self.model.token_logprobs(tape, hidden, &targets, temperature).expect("log-probabilities")
    }

    /// The scalar head at each text's last token.
    fn rewards(&self, tape: &Tape) -> Tensor {
        let ends = self.integers("ends");
        let rows: Vec<u32> = ends.iter().enumerate().map(|(text, end)| (text * TOKENS) as u32 + end).collect();
        let rows = RowIndex::new(&self.gpu, &rows, true).expect("rows");
        self.head.apply_at(tape, &self.hidden(tape), &rows).expect("rewards")
    }

    /// Checks that the loss from `build` and the gradients of every parameter equal PyTorch's; a parameter without a
    /// gradient there must have none here.
    fn check(&self, name: &str, build: impl Fn(&Tape) -> Tensor) {
        let (tape, mut gradients) = (Tape::new(&self.gpu), Gradients::default());
        self.model.watch(&tape);
        self.head.watch(&tape);
        let loss = build(&tape);
        close(&format!("{name}.loss"), &read(&loss), &self.numbers(&format!("{name}.loss")));
        let one = Tensor::from_f32(&self.gpu, &[1], &[1.0]).expect("one");
        tape.backward(&loss, one, &mut gradients).expect("a backward pass");
        let mut compared = 0;
        for (parameter, tensor) in self.model.parameters().iter().chain(&self.head.parameters("head")) {
            let key = format!("{name}.grad.{parameter}");
            match (gradients.get(tensor), self.file.contains(&key)) {
                (Some(gradient), true) => close(&key, &read(gradient), &self.numbers(&key)),
                (None, false) => continue,
                (gradient, _) => panic!("{key}: a gradient here {}", gradient.is_some()),
            }
            compared += 1;
        }
        assert!(compared >= self.model.parameters().len(), "{name}: only {compared} gradients");
    }

    fn policy(&self, tape: &Tape, logprobs: &Tensor, beta: Option<f32>) -> wgpt::ops::losses::Loss {
        let (old, advantages, reference) = (self.tokens("old"), self.tokens("advantages"), self.tokens("reference"));
        let policy = Policy {
            old_logprobs: &old,
            advantages: &advantages,
            weights: &self.weights(),
            clip: CLIP,
            reference: beta.map(|beta| (&reference, beta)),
        };
        policy_loss(tape, logprobs, policy).expect("a policy loss")
    }
}

#[test]
fn token_logprobs_equal_pytorch() {
    let device = device();
    let fixture = Fixture::open(&device.gpu);
    let tape = Tape::off(&device.gpu);
    let hidden = fixture.hidden(&tape);
    let found = fixture.logprobs(&tape, &hidden, TEMPERATURE);
    close("logprobs", &read(&found.logprobs), &fixture.numbers("logprobs"));
    close("entropies", &read(&found.entropies), &fixture.numbers("entropies"));
    close("values", &read(&fixture.head.apply(&tape, &hidden).expect("values")), &fixture.numbers("values"));
    let targets = Targets::new(&device.gpu, &fixture.targets).expect("targets");
    for temperature in [0.0, -1.0, f32::NAN] {
        let refused = fixture.model.token_logprobs(&tape, &hidden, &targets, temperature);
        assert!(refused.is_err_and(|error| error.to_string().contains("temperature")));
    }
}

#[test]
fn ppo_equals_pytorch() {
    let device = device();
    let fixture = Fixture::open(&device.gpu);
    fixture.check("ppo", |tape| {
        let hidden = fixture.hidden(tape);
        let logprobs = fixture.logprobs(tape, &hidden, TEMPERATURE).logprobs;
        let policy = fixture.policy(tape, &logprobs, None);
        let values = fixture.head.apply(tape, &hidden).expect("values");
        let (old, returns) = (fixture.tokens("old_values"), fixture.tokens("returns"));
        let value = value_loss(tape, &values, &returns, &fixture.weights(), Some((&old, CLIP))).expect("a value loss");
        let p = pollster::block_on(policy::Statistics::of(policy.totals.read())).expect("statistics");
        let v = pollster::block_on(value::Statistics::of(value.totals.read())).expect("statistics");
        let found = [p.approx_kl, p.clip_fraction, p.ratio, v.loss, v.clip_fraction];
        close("ppo.stats", &found, &fixture.numbers("ppo.stats"));
        weighted_sum(tape, &[(&policy.mean, 1.0), (&value.mean, 0.1)]).expect("a loss")
    });
}

#[test]
fn grpo_equals_pytorch() {
    let device = device();
    let fixture = Fixture::open(&device.gpu);
    fixture.check("grpo", |tape| {
        let logprobs = fixture.logprobs(tape, &fixture.hidden(tape), TEMPERATURE).logprobs;
        let loss = fixture.policy(tape, &logprobs, Some(0.04));
        let statistics = pollster::block_on(policy::Statistics::of(loss.totals.read())).expect("statistics");
        close("grpo.stats", &[statistics.reference_kl], &fixture.numbers("grpo.stats"));
        loss.mean
    });
}

/// Log-probabilities of whole texts `[texts]`.
fn text_logprobs(fixture: &Fixture, tape: &Tape) -> Tensor {
    let mask: Vec<f32> = fixture.counts().iter().map(|counts| if *counts { 1.0 } else { 0.0 }).collect();
    let mask = Tensor::from_f32(&fixture.gpu, &[TEXTS, TOKENS], &mask).expect("a mask");
    let logprobs = fixture.logprobs(tape, &fixture.hidden(tape), 1.0).logprobs;
    weighted_row_sum(tape, &logprobs, &mask).expect("sums")
}

#[test]
fn dpo_equals_pytorch() {
    let device = device();
    let fixture = Fixture::open(&device.gpu);
    let reference = fixture.upload("dpo_reference", &[4, 2]);
    fixture.check("dpo", |tape| {
        let sums = text_logprobs(&fixture, tape);
        let loss = pair_loss(tape, &sums, Pairs::dpo(0.1, &reference)).expect("a loss");
        let statistics = pollster::block_on(pairs::Statistics::of(loss.totals.read())).expect("statistics");
        close("dpo.stats", &[statistics.gap, statistics.accuracy], &fixture.numbers("dpo.stats"));
        loss.mean
    });
    // The policy is its own reference, so nothing is learned yet: ln 2 = 0.6931472.
    let tape = Tape::off(&device.gpu);
    let sums = text_logprobs(&fixture, &tape);
    let own = sums.reshape(&[4, 2]).expect("pairs");
    let first = read(&pair_loss(&tape, &sums, Pairs::dpo(0.1, &own)).expect("a loss").mean)[0];
    assert!((first - std::f32::consts::LN_2).abs() < 1e-7, "{first}");
}

#[test]
fn reward_losses_equal_pytorch() {
    let device = device();
    let fixture = Fixture::open(&device.gpu);
    let margins = fixture.upload("margins", &[4]);
    fixture.check("pairwise", |tape| {
        let how = Pairs { margins: Some(&margins), centring: 0.01, ..Pairs::REWARD };
        let loss = pair_loss(tape, &fixture.rewards(tape), how).expect("a loss");
        let statistics = pollster::block_on(pairs::Statistics::of(loss.totals.read())).expect("statistics");
        close("pairwise.stats", &[statistics.gap, statistics.accuracy], &fixture.numbers("pairwise.stats"));
        loss.mean
    });
    let best = Targets::new(&device.gpu, &fixture.integers("best")).expect("targets");
    fixture.check("choice", |tape| choice_loss(tape, &fixture.rewards(tape), &best).expect("a loss"));
    let (ratings, all) = (fixture.upload("ratings", &[TEXTS]), RowWeights::mean(&device.gpu, &[true; TEXTS]));
    let all = all.expect("weights");
    fixture.check("rating", |tape| squared_error(tape, &fixture.rewards(tape), &ratings, &all).expect("a loss").mean);
}

/// Rewards of two rows, one of which is named twice, after normalisation: the values, and the chain of gradients.
#[test]
fn heads_gather_normalise_and_pass_gradients_on() {
    let device = device();
    let gpu = &device.gpu;
    let mut head = ScalarHead::new(gpu, 3, Start::Normal(5)).expect("a head");
    let scores = [0.5, 2.5, -1.0, 4.0];
    head.normalise(&scores).expect("they differ");
    // Mean 1.5, variance 3.625; normalising again with the new scores changes nothing.
    let deviation = 3.625f32.sqrt();
    assert!((head.gain - 1.0 / deviation).abs() < 1e-6 && (head.shift + 1.5 / deviation).abs() < 1e-6);
    let again: Vec<f32> = scores.iter().map(|score| head.gain * score + head.shift).collect();
    let gain = head.gain;
    head.normalise(&again).expect("they differ");
    assert!((head.gain - gain).abs() < 1e-6 && head.normalise(&[2.0; 3]).is_err() && head.normalise(&[]).is_err());

    let weight = read(&head.weight);
    assert!(weight.iter().all(|w| *w != 0.0 && w.abs() < 2.5), "{weight:?}");
    let x = [0.5, -1.0, 2.0, 9.0, 9.0, 9.0, 1.5, 0.25, -0.75];
    let hidden = Tensor::from_f32(gpu, &[1, 3, 3], &x).expect("hidden states");
    let (tape, mut gradients) = (Tape::new(gpu), Gradients::default());
    tape.watch(&hidden);
    head.watch(&tape);
    let rows = RowIndex::new(gpu, &[2, 0, 2], true).expect("rows");
    let out = head.apply_at(&tape, &hidden, &rows).expect("rewards");
    let reward = |row: usize| head.gain * (0..3).map(|c| x[3 * row + c] * weight[c]).sum::<f32>() + head.shift;
    close("rewards", &read(&out), &[reward(2), reward(0), reward(2)]);
    let g = [1.0, -2.0, 0.5];
    tape.backward(&out, Tensor::from_f32(gpu, &[3], &g).expect("a gradient"), &mut gradients).expect("a backward pass");
    let slopes = [-2.0, 0.0, 1.5].map(|slope| slope * head.gain);
    let expected: Vec<f32> = (0..9).map(|i| slopes[i / 3] * weight[i % 3]).collect();
    close("hidden", &read(gradients.get(&hidden).expect("a gradient")), &expected);
    let expected: Vec<f32> = (0..3).map(|c| (0..3).map(|row| slopes[row] * x[3 * row + c]).sum()).collect();
    close("weight", &read(gradients.get(&head.weight).expect("a gradient")), &expected);
    close("bias", &read(gradients.get(&head.bias).expect("a gradient")), &[-0.5 * head.gain]);
    let past = RowIndex::new(gpu, &[3], true).expect("rows");
    assert!(head.apply_at(&Tape::off(gpu), &hidden, &past).is_err_and(|error| error.to_string().contains("row 3")));
}
