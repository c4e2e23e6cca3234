//! Sampling in batches, and reinforcement learning as a whole, on models so small that a step takes milliseconds.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use wgpt::{
    Error,
    error::GuardCause,
    gpu::Gpu,
    infer::{
        batch::{Limits, Request, continue_all},
        generate::{self, generate},
        sampler::Sampling,
        session::Session,
    },
    interchange::TextCodec,
    io::metrics,
    model::{
        Config, Gpt,
        gpt::Pass,
        lora::{Base, Lora, LoraConfig, Target},
    },
    ops::embedding::Tokens,
    tape::Tape,
    text::Tokenizer,
    train::{
        self,
        judge::{Function, Judge, ScoredAnswer},
        ppo::{
            Ppo, Progress,
            learner::Learner,
            prompts::Prompts,
            run::{self, Run},
            settings::{Algorithm, Limits as Guarded, Settings},
            statistics::Statistics,
        },
        rlhf::kl::KlController,
        run::Event,
        settings::Common,
        state,
        trainer::Trainer,
    },
};

use crate::{device::device, support::data};

const TEXT: &str = "the cat sat on a mat. a dog ran to the cat. ";

fn codec() -> TextCodec {
    TextCodec::plain(Tokenizer::chars_of([TEXT]).expect("a tokenizer"))
}

fn config(codec: &TextCodec) -> Config {
    Config { kv_heads: 1, ..Config::gpt2(codec.tokenizer.vocab_size(), 24, 2, 2, 16) }
}

/// A model with clear preferences: its weights are ten times as large as at the start of training.
fn sharp(gpu: &Gpu, config: &Config) -> Gpt {
    let mut stream = 0;
    let model = Gpt::build(gpu, config, |spec| {
        stream += 1;
        let norm = spec.name.contains("norm") && spec.name.ends_with("weight");
        let values = data(stream, spec.shape.iter().product());
        Ok(values.iter().map(|value| if norm { 1.0 } else { value * 0.3 }).collect())
    });
    model.expect("a model")
}

#[test]
fn a_batch_continues_as_its_texts_would_alone() {
    let device = device();
    let gpu = &device.gpu;
    for config in [Config::gpt2(13, 24, 2, 2, 16), Config { kv_heads: 1, ..Config::llama(13, 24, 2, 2, 16) }] {
        let model = sharp(gpu, &config);
        let prompts: [&[u32]; 4] = [&[3], &[1, 5, 9, 2, 2, 7, 11], &[4, 4], &[0, 12, 6, 8, 1]];
        let requests: Vec<_> = prompts.iter().zip(7..).map(|(prompt, episode)| Request { prompt, episode }).collect();
        let limits = Limits { count: 12, stops: &[5], earliest: 2, width: 0 };
        let run = |requests: &[Request<'_>], temperature: f32, limits: Limits<'_>| {
            let sampling = Sampling { temperature, seed: 3, ..Sampling::default() };
            pollster::block_on(continue_all(gpu, &model, requests, limits, &sampling, |_| ())).expect("answers")
        };
        let together = run(&requests, 0.0, Limits { stops: &[], ..limits });
        for (prompt, answer) in prompts.iter().zip(&together) {
            let mut session = Session::new(gpu, &model).expect("a session");
            let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
            let length = generate::Limits { count: 12, ..generate::Limits::default() };
            let alone = generate(&mut session, prompt, length, &sampling, |_, _| (), |_| true);
            let alone = pollster::block_on(alone).expect("an answer");
            assert_eq!(answer.tokens, alone.tokens, "{prompt:?}");
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
            assert!(answer.logprobs.iter().zip(&alone.logprobs).all(near));
        }
        // Drawn tokens do not depend on the other texts or on padding; an answer ends with its stop token.
        let together = run(&requests, 1.0, limits);
        assert_eq!(run(&requests[1..2], 1.0, Limits { width: 9, ..limits })[0].tokens, together[1].tokens);
        assert!(together.iter().any(|answer| answer.tokens != run(&requests, 0.0, limits)[0].tokens));
        for answer in &together {
            let stop = answer.tokens.iter().enumerate().position(|(at, id)| at >= 2 && *id == 5);
            assert_eq!((answer.stopped, answer.tokens.len()), (stop.is_some(), stop.map_or(12, |at| at + 1)));
            assert_eq!(answer.logprobs.len(), answer.tokens.len());
        }
    }
    let model = sharp(gpu, &Config::gpt2(13, 8, 1, 2, 16));
    let refused = |prompt: &[u32], count| {
        let limits = Limits { count, stops: &[], earliest: 0, width: 0 };
        let requests = [Request { prompt, episode: 0 }];
        pollster::block_on(continue_all(gpu, &model, &requests, limits, &Sampling::default(), |_| ())).is_err()
    };
    assert!(refused(&[], 2) && refused(&[1; 5], 5) && !refused(&[1; 5], 4));
}

/// How often the letter a occurs.
fn letters(said: ScoredAnswer<'_>) -> f32 {
    said.answer.matches('a').count() as f32
}

fn settings() -> Settings {
    let recipe = Settings::recipe(Algorithm::PPO);
    Settings {
        common: Common { save_every: 2, ..recipe.common },
        steps: 6,
        batch: 16,
        lr: 3e-3,
        prompt_tokens: 5,
        max_tokens: 8,
        normalise: 32,
        sample_every: 2,
        ..recipe
    }
}

fn policy(gpu: &Gpu, codec: &TextCodec, adapters: bool) -> (Gpt, Option<Gpt>) {
    let model = || Gpt::new(gpu, &config(codec), 4).expect("a model");
    if !adapters {
        return (model(), Some(model()));
    }
    let config = LoraConfig { rank: 2, alpha: 4.0, targets: Target::ALL.to_vec(), last: None };
    let base = Base { path: Path::new("nowhere").to_path_buf(), fingerprint: String::new() };
    (model().with_lora(Lora { config, base }, 5).expect("adapters"), None)
}

fn ppo(gpu: &Gpu, settings: Settings, adapters: bool) -> Ppo {
    let codec = codec();
    let (policy, reference) = policy(gpu, &codec, adapters);
    let value = matches!(settings.algorithm, Algorithm::Ppo { .. });
    let learner = Learner::new(gpu, policy, reference, value, &settings).expect("a learner");
    let ids = codec.tokenizer.encode(TEXT).expect("tokens");
    let prompts = Prompts::windows(ids, settings.prompt_tokens, settings.common.seed);
    let progress = Progress::new(&settings);
    Ppo { settings, learner, prompts, judge: Box::new(Function(letters)), gold: None, codec, progress }
}

/// The first update has ratio 1 and clips nothing, so sampling and training see the same distributions; and accumulation
/// changes nothing (rows I and N of the acceptance figures).
#[test]
fn the_first_ratio_is_1_and_micro_batches_change_nothing() {
    let device = device();
    for (adapters, minibatches) in [(false, 1), (true, 2)] {
        let run = |accumulate| {
            let settings = Settings { accumulate, minibatches, ..settings() };
            let mut ppo = ppo(&device.gpu, settings, adapters);
            (0..3).map(|_| pollster::block_on(ppo.step()).expect("a step").statistics).collect::<Vec<_>>()
        };
        let (whole, parts) = (run(1), run(8 / minibatches));
        assert_eq!(whole[0].kl, 0.0, "the policy begins as its reference");
        for (whole, parts) in whole.iter().zip(&parts) {
            assert!((whole.first_ratio - 1.0).abs() < 1e-5 && whole.first_clip_fraction == 0.0, "{whole:?}");
            assert!(whole.sampling_gap < 1e-4, "{}", whole.sampling_gap);
            let pairs = [
                (whole.score, parts.score),
                (whole.kl, parts.kl),
                (f64::from(whole.policy_loss), f64::from(parts.policy_loss)),
                (f64::from(whole.value_loss), f64::from(parts.value_loss)),
                (f64::from(whole.gradient_norm), f64::from(parts.gradient_norm)),
            ];
            assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-4 + 1e-3 * a.abs()), "{whole:?}\n{parts:?}");
        }
        assert!(whole[2].kl > 0.0 && whole[2].approx_kl > 0.0, "{:?}", whole[2]);
    }
}

/// A gold judge is asked about every step's answers, and changes nothing.
#[test]
fn a_gold_judge_teaches_nothing() {
    let device = device();
    let run = |gold: bool| {
        let mut ppo = ppo(&device.gpu, settings(), false);
        ppo.gold = gold.then(|| -> Box<dyn Judge> { Box::new(Function(|_: ScoredAnswer<'_>| 0.25)) });
        (0..2).map(|_| pollster::block_on(ppo.step()).expect("a step").statistics).collect::<Vec<_>>()
    };
    let (with, without) = (run(true), run(false));
    assert!(with.iter().all(|step| step.gold == Some(0.25)), "{with:?}");
    let blind: Vec<_> = with.into_iter().map(|step| Statistics { gold: None, ..step }).collect();
    assert_eq!(blind, without);
}

/// With a fixed beta the best policy is known, pi* = ref exp(r / beta) / Z (row J of the acceptance figures).
#[test]
fn a_bandit_finds_the_best_policy() {
    let device = device();
    let gpu = &device.gpu;
    let (codec, rewards) =
        (TextCodec::plain(Tokenizer::chars_of(["abcdef"]).expect("letters")), [0.0, 1.0, 0.3, -0.5, 0.7, 0.1]);
    let beta = 0.5;
    let algorithm = Algorithm::Ppo {
        gamma: 1.0,
        lambda: 0.95,
        value_clip: 0.2,
        value_factor: 0.1,
        whiten_rewards: false,
        whiten_advantages: false,
    };
    let settings = Settings {
        steps: 120,
        batch: 256,
        lr: 2e-2,
        temperature: 1.0,
        prompt_tokens: 1,
        max_tokens: 1,
        controller: KlController::Fixed { beta },
        ..Settings::recipe(algorithm)
    };
    let config = Config::gpt2(6, 4, 1, 1, 8);
    let model = || Gpt::new(gpu, &config, 2).expect("a model");
    let distribution = |model: &Gpt| {
        let tokens = Tokens::new(gpu, &[0], 1, 1, false).expect("a token");
        let tape = Tape::off(gpu);
        let hidden = model.forward(&tape, &tokens, Pass::default(), None).expect("hidden states");
        let logits = pollster::block_on(model.logits(&tape, &hidden).expect("logits").to_f32()).expect("a readback");
        normal(logits.iter().map(|x| f64::from(*x).exp()).collect())
    };
    let reference = distribution(&model());
    let best = normal(reference.iter().zip(rewards).map(|(p, r)| p * (f64::from(r) / beta).exp()).collect());
    let learner = Learner::new(gpu, model(), Some(model()), true, &settings).expect("a learner");
    let judge =
        Function(move |said: ScoredAnswer<'_>| rewards[(said.answer.bytes().next().unwrap_or(b'a') - b'a') as usize]);
    let (prompts, progress) = (Prompts::windows(vec![0, 0], 1, 1), Progress::new(&settings));
    let mut ppo = Ppo { settings, learner, prompts, judge: Box::new(judge), gold: None, codec, progress };
    let divergence = |p: &[f64]| p.iter().zip(&best).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
    let first = divergence(&reference);
    for _ in 0..ppo.settings.steps {
        pollster::block_on(ppo.step()).expect("a step");
    }
    let last = divergence(&distribution(ppo.learner.policy()));
    assert!(first > 0.2 && last < 0.01, "KL(pi, pi*) {first} -> {last}");
}

fn normal(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Answers are compared with others to the same prompt, and rewarded ones become more frequent.
#[test]
fn groups_teach_without_values() {
    let device = device();
    let settings = Settings { steps: 15, batch: 32, lr: 1e-2, normalise: 0, epochs: 2, ..settings() };
    let settings = Settings { algorithm: Algorithm::GRPO, controller: KlController::Fixed { beta: 0.01 }, ..settings };
    let mut ppo = ppo(&device.gpu, settings, false);
    let episodes = pollster::block_on(ppo.rollout(0, 32)).expect("episodes");
    for group in episodes.chunks(8) {
        assert!(group.iter().all(|episode| episode.prompt == group[0].prompt));
        assert!(group.iter().any(|episode| episode.answer != group[0].answer));
    }
    assert!(episodes.iter().any(|episode| episode.prompt != episodes[0].prompt));
    let steps: Vec<_> = (0..15).map(|_| pollster::block_on(ppo.step()).expect("a step").statistics).collect();
    let (first, last) = (steps[0], steps[14]);
    assert!(last.score > first.score + 1.0 && last.kl > 0.1, "{first:?}\n{last:?}");
    assert!((first.first_ratio - 1.0).abs() < 1e-5 && first.value_loss == 0.0);
}

/// A folder that contains a base model.
fn folder(gpu: &Gpu, codec: &TextCodec) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = train::Settings::recipe(config(codec));
    let trainer = Trainer::new(gpu, Gpt::new(gpu, &recipe.config, 4).expect("a model"), &recipe).expect("a trainer");
    let base = folder.path().join("base");
    let save = state::save(&base, &trainer, codec, &recipe, None);
    pollster::block_on(save).expect("a checkpoint");
    folder
}

/// Runs in `folder/name` until `stop_at` steps are done, from its newest checkpoint if it has one.
fn run_in(gpu: &Gpu, folder: &Path, name: &str, settings: &Settings, stop_at: u64) -> wgpt::Result<run::Summary> {
    let codec = codec();
    let (base, out, stop) = (folder.join("base"), folder.join(name), AtomicBool::new(false));
    std::fs::create_dir_all(&out).expect("a folder");
    let source = wgpt::interchange::open(&base)?;
    let settings = Settings { base: wgpt::interchange::adapter::fingerprint(&*source)?, ..settings.clone() };
    let (learner, progress) = match run::state(&out) {
        Ok(state) => (run::resume(gpu, &out, &state, true)?, state.progress),
        Err(_) => (run::begin(gpu, &base, None, &settings, true)?, Progress::new(&settings)),
    };
    let prompts = Prompts::windows(codec.tokenizer.encode(TEXT)?, settings.prompt_tokens, settings.common.seed);
    let ppo = Ppo { settings, learner, prompts, judge: Box::new(Function(letters)), gold: None, codec, progress };
    let run = Run { out: &out, base, ppo, stop: &stop };
    pollster::block_on(run.run(|event| {
        if let Event::Step(report) = event {
            stop.store(report.step >= stop_at, Ordering::Relaxed);
        }
    }))
}

/// The log, without timings.
fn log(folder: &Path, name: &str) -> Vec<Value> {
    let mut lines = metrics::read(&folder.join(name).join("metrics.jsonl")).expect("a log");
    lines.iter_mut().filter_map(Value::as_object_mut).for_each(|line| drop(line.remove("seconds")));
    lines
}

/// Weights, moments, value head, beta, random numbers and prompts continue where they were (second half of row N of the
/// acceptance figures).
#[test]
fn a_resumed_run_is_the_same_run() {
    let device = device();
    let codec = codec();
    let folder = folder(&device.gpu, &codec);
    let whole = run_in(&device.gpu, folder.path(), "whole", &settings(), 99).expect("a run");
    let half = run_in(&device.gpu, folder.path(), "half", &settings(), 3).expect("half a run");
    assert_eq!((whole.steps, whole.stopped, half.steps, half.stopped), (6, false, 3, true));
    run_in(&device.gpu, folder.path(), "half", &settings(), 99).expect("the other half");
    assert_eq!(log(folder.path(), "half"), log(folder.path(), "whole"));
    let file = |name: &str, file: &str| {
        std::fs::read(folder.path().join(name).join("checkpoint-00000006").join(file)).expect("a file")
    };
    for name in ["model.safetensors", "optimizer.safetensors"] {
        assert!(file("half", name) == file("whole", name), "{name} differs");
    }
    let (first, last) = (whole.first.expect("a step"), whole.last.expect("a step"));
    assert!(first.beta != last.beta && first.learning_rate > last.learning_rate);
    assert!(folder.path().join("half/curves.svg").exists());
    let refused = settings().agrees_with(&Settings { lr: 1.0, ..settings() }).unwrap_err().to_string();
    assert!(refused.contains("lr = 1.0"), "{refused}");
}

#[test]
fn a_run_that_goes_wrong_stops_with_a_good_checkpoint() {
    let device = device();
    let folder = folder(&device.gpu, &codec());
    let limits = Guarded { kl: 0.5, patience: 2, ..Guarded::default() };
    let common = Common { save_every: 1, ..settings().common };
    let wild = Settings { lr: 0.1, steps: 30, common, limits, ..settings() };
    let stopped = run_in(&device.gpu, folder.path(), "wild", &wild, 99).expect_err("a guard stops it");
    assert!(matches!(&stopped, Error::Guarded { cause: GuardCause::Kl { .. }, .. }), "{stopped}");
    let steps: Vec<_> = log(folder.path(), "wild").iter().filter_map(|line| line["kl"].as_f64()).collect();
    let good = steps.iter().take_while(|kl| **kl <= 0.5).count();
    let kept = run::state(&folder.path().join("wild")).expect("a checkpoint").progress;
    assert_eq!((kept.step as usize, steps.len()), (good, good + 2));

    let broken = Settings { limits: Guarded { repetition: -1.0, patience: 1, ..limits }, ..settings() };
    let stopped = run_in(&device.gpu, folder.path(), "broken", &broken, 99).expect_err("a guard stops it");
    assert!(stopped.to_string().contains("repeat themselves"), "{stopped}");
}
