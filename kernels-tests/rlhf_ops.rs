//! RLHF operations in cases that the fixture's model does not cover: a vocabulary in chunks, packed heads, losses in
//! parts, steps that create nothing.

use wgpt::{
    doctor::reference::rlhf as oracle,
    formats::{self, Format, Rows},
    model::{
        Config, Gpt, Model,
        gpt::Pass,
        heads::{ScalarHead, Start},
    },
    ops::{
        cross_entropy::{IGNORED, Targets},
        embedding::Tokens,
        losses::{
            RowWeights,
            choice::choice_loss,
            policy::{Policy, policy_loss},
            value::value_loss,
            weighted_sum,
        },
        packed::Packed,
        row_sum::weighted_row_sum,
        token_logprobs::token_logprobs,
        weight::Weight,
    },
    tape::{Gradients, Tape},
    tensor::Tensor,
};

use crate::{
    device::device,
    support::{assert_close, data, to_f64},
};

fn read(tensor: &Tensor) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).expect("a readback")
}

/// Logits over 64 MiB: the vocabulary is cut into chunks, and its logits are computed again in the backward pass.
#[test]
fn token_logprobs_of_a_vocabulary_in_chunks() {
    let device = device();
    let (gpu, rows, vocabulary, width) = (&device.gpu, 4099, 4201, 2);
    let (x, weight, g) = (data(1, rows * width), data(2, vocabulary * width), data(3, rows));
    let target = |row: usize| if row % 7 == 2 { IGNORED } else { (row * 31 % vocabulary) as u32 };
    let targets: Vec<u32> = (0..rows).map(target).collect();
    let hidden = Tensor::from_f32(gpu, &[rows, width], &x).expect("hidden states");
    let head = Tensor::from_f32(gpu, &[vocabulary, width], &weight).expect("a head");
    let (tape, mut gradients) = (Tape::new(gpu), Gradients::default());
    tape.watch(&hidden);
    tape.watch(&head);
    let ids = Targets::new(gpu, &targets).expect("targets");
    let found = token_logprobs(&tape, &hidden, &head, &ids, 0.5).expect("log-probabilities");
    let slopes = Tensor::from_f32(gpu, &[rows], &g).expect("a gradient");
    tape.backward(&found.logprobs, slopes, &mut gradients).expect("a backward pass");

    let (x, weight) = (to_f64(&x), to_f64(&weight));
    let (mut logprobs, mut entropies) = (Vec::new(), Vec::new());
    let (mut grad_x, mut grad_weight) = (vec![0.0; rows * width], vec![0.0; vocabulary * width]);
    for row in 0..rows {
        let x = &x[row * width..][..width];
        let logits: Vec<f64> = weight.chunks_exact(width).map(|w| w[0] * x[0] + w[1] * x[1]).collect();
        let known = oracle::token_logprobs(&logits, &targets[row..=row], 0.5, &[f64::from(g[row])]);
        logprobs.extend(known.logprobs);
        entropies.extend(known.entropies);
        for (id, slope) in known.grad_logits.iter().enumerate() {
            for c in 0..width {
                grad_x[row * width + c] += slope * weight[id * width + c];
                grad_weight[id * width + c] += slope * x[c];
            }
        }
    }
    assert_close("logprobs", &read(&found.logprobs), &logprobs, 1e-4, 1e-5);
    assert_close("entropies", &read(&found.entropies), &entropies, 1e-4, 1e-5);
    let gradient = |tensor: &Tensor| read(gradients.get(tensor).expect("a gradient"));
    assert_close("hidden", &gradient(&hidden), &grad_x, 1e-4, 1e-3);
    assert_close("weight", &gradient(&head), &grad_weight, 1e-4, 1e-3);
}

/// As in a reference or a frozen policy: the head stays packed, and gradients reach the hidden states all the same.
#[test]
fn token_logprobs_of_a_packed_head() {
    let device = device();
    let (gpu, rows, vocabulary, width) = (&device.gpu, 5, 37, 64);
    let (x, weight, g) = (data(4, rows * width), data(5, vocabulary * width), data(6, rows));
    let bytes = formats::quantise(Format::Q8_0, &weight).expect("blocks");
    let stored = Rows { format: Format::Q8_0, rows: vocabulary, width, bytes: bytes.into() };
    let plain = Tensor::from_f32(gpu, &[vocabulary, width], &stored.to_f32()).expect("a head");
    let packed = Packed::new(gpu, &[stored]).expect("a packed head");
    let ids = Targets::new(gpu, &[3, IGNORED, 36, 0, 9]).expect("targets");
    let run = |head: Weight| {
        let hidden = Tensor::from_f32(gpu, &[rows, width], &x).expect("hidden states");
        let (tape, mut gradients) = (Tape::new(gpu), Gradients::default());
        tape.watch(&hidden);
        let found = token_logprobs(&tape, &hidden, head, &ids, 0.7).expect("log-probabilities");
        let slopes = Tensor::from_f32(gpu, &[rows], &g).expect("a gradient");
        tape.backward(&found.logprobs, slopes, &mut gradients).expect("a backward pass");
        let gradient = read(gradients.get(&hidden).expect("a gradient"));
        [read(&found.logprobs), read(&found.entropies), gradient]
    };
    for (packed, plain) in run(Weight::Packed(packed)).iter().zip(run(Weight::Plain(plain))) {
        assert_close("packed", packed, &to_f64(&plain), 1e-6, 1e-6);
    }
}

/// A batch in one piece and in micro-batches of three and four rows gives the same loss and gradient.
#[test]
fn parts_of_a_mean_add_up() {
    let device = device();
    let gpu = &device.gpu;
    let [logprobs, old, advantages] = [7, 8, 9].map(|seed| data(seed, 7));
    let counts = [true, false, true, true, false, true, true];
    let total = counts.iter().filter(|counts| **counts).count();
    let run = |rows: std::ops::Range<usize>| {
        let upload = |values: &[f32]| Tensor::from_f32(gpu, &[rows.len()], &values[rows.clone()]).expect("a tensor");
        let (x, old_logprobs, advantages) = (upload(&logprobs), upload(&old), upload(&advantages));
        let weights = RowWeights::share(gpu, &counts[rows.clone()], total).expect("weights");
        let (tape, mut gradients) = (Tape::new(gpu), Gradients::default());
        tape.watch(&x);
        let policy = Policy {
            old_logprobs: &old_logprobs,
            advantages: &advantages,
            weights: &weights,
            clip: 0.2,
            reference: None,
        };
        let loss = policy_loss(&tape, &x, policy).expect("a loss").mean;
        let average = read(&weights.average(&x).expect("a mean"))[0];
        let one = Tensor::from_f32(gpu, &[1], &[1.0]).expect("one");
        tape.backward(&loss, one, &mut gradients).expect("a backward pass");
        (read(&loss)[0], average, read(gradients.get(&x).expect("a gradient")))
    };
    let (whole, first, second) = (run(0..7), run(0..3), run(3..7));
    assert!((whole.0 - first.0 - second.0).abs() < 1e-6, "{} {} {}", whole.0, first.0, second.0);
    let mean = (0..7).filter(|i| counts[*i]).map(|i| logprobs[i]).sum::<f32>() / 5.0;
    assert!((whole.1 - mean).abs() < 1e-6 && (first.1 + second.1 - mean).abs() < 1e-6);
    assert_eq!(whole.2, [first.2, second.2].concat());
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let device = device();
    let gpu = &device.gpu;
    let tape = Tape::off(gpu);
    let vector = |len: usize| Tensor::from_f32(gpu, &[len], &vec![0.5; len]).expect("a tensor");
    let weights = RowWeights::mean(gpu, &[true; 4]).expect("weights");
    let policy =
        Policy { old_logprobs: &vector(4), advantages: &vector(3), weights: &weights, clip: 0.2, reference: None };
    let message =
        |result: wgpt::Result<_>| result.err().map(|error: wgpt::Error| error.to_string()).unwrap_or_default();
    assert!(message(policy_loss(&tape, &vector(4), policy).map(|_| ())).contains("advantages"));
    assert!(message(value_loss(&tape, &vector(4), &vector(5), &weights, None).map(|_| ())).contains("returns"));
    assert!(message(weighted_row_sum(&tape, &vector(4), &vector(5)).map(|_| ())).contains("weights"));
    let best = Targets::new(gpu, &[0, 1, 0]).expect("targets");
    assert!(message(choice_loss(&tape, &vector(4), &best).map(|_| ())).contains("3 questions"));
    assert!(message(weighted_sum(&tape, &[(&vector(2), 1.0)]).map(|_| ())).contains("a loss"));
}

/// A PPO step: log-probabilities, values and both losses over one forward pass, backward into all parameters.
#[test]
fn ppo_steps_after_the_first_create_nothing() {
    let device = device();
    let (gpu, texts, tokens) = (&device.gpu, 3, 9);
    let rows = texts * tokens;
    let model = Gpt::new(gpu, &Config::llama(21, tokens, 2, 2, 16), 1).expect("a model");
    let head = ScalarHead::new(gpu, 16, Start::Normal(2)).expect("a head");
    let one = Tensor::from_f32(gpu, &[1], &[1.0]).expect("one");
    let mut gradients = Gradients::default();
    for (_, parameter) in model.parameters().iter().chain(&head.parameters("value")) {
        gradients.keep(parameter, Tensor::zeros(gpu, parameter.shape()).expect("a gradient"));
    }
    let mut step = |number: usize| {
        let ids: Vec<u32> = (0..rows).map(|i| ((i * 7 + number * 3) % 21) as u32).collect();
        let counts: Vec<bool> = (0..rows).map(|i| (i + number) % 4 != 0).collect();
        let vector = |seed: usize| Tensor::from_f32(gpu, &[rows], &data(seed as u64, rows)).expect("a tensor");
        let (old_logprobs, advantages, old, returns) = (vector(40), vector(41), vector(42), vector(43));
        let weights = RowWeights::mean(gpu, &counts).expect("weights");
        let tape = Tape::new(gpu);
        model.watch(&tape);
        head.watch(&tape);
        let batch = Tokens::new(gpu, &ids, texts, tokens, true).expect("tokens");
        let hidden = model.forward(&tape, &batch, Pass::default(), None).expect("a forward pass");
        let targets = Targets::new(gpu, &ids).expect("targets");
        let logprobs = model.token_logprobs(&tape, &hidden, &targets, 0.7).expect("log-probabilities").logprobs;
        let values = head.apply(&tape, &hidden).expect("values");
        let policy = Policy {
            old_logprobs: &old_logprobs,
            advantages: &advantages,
            weights: &weights,
            clip: 0.2,
            reference: None,
        };
        let policy = policy_loss(&tape, &logprobs, policy).expect("a loss");
        let value = value_loss(&tape, &values, &returns, &weights, Some((&old, 0.2))).expect("a loss");
        let loss = weighted_sum(&tape, &[(&policy.mean, 1.0), (&value.mean, 0.1)]).expect("a loss");
        tape.backward(&loss, one.clone(), &mut gradients).expect("a backward pass");
        gradients.reset();
        read(&loss)[0]
    };
    step(0);
    let before = gpu.created();
    for number in 1..4 {
        assert!(step(number).is_finite());
    }
    assert_eq!(gpu.created(), before);
}
