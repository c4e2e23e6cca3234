//! Direct preference optimisation through its whole stage: the loss starts at ln 2, preferences are learned and the
//! reference is kept, with and without adapters; micro-batches add up.

use std::path::PathBuf;

use wgpt::{
    gpu::Gpu,
    model::{
        Config, Gpt,
        lora::{Base, Lora, LoraConfig, Target},
    },
    random,
    tape::Tape,
    train::{
        Settings,
        dpo::{Dpo, answer_logprobs},
        preferences::{Pair, Pairs, Row, padded},
        run::Validation,
        supervised::Task,
        trainer::{Outcome, Trainer},
    },
};

use crate::device::device;

const VOCABULARY: usize = 19;

/// 40 prompts with two pairs each, of various lengths. Answers with even tokens are preferred to answers with odd ones.
fn pairs() -> Pairs {
    let draw = |counter: u64, below: u64| random::below(3, 1, counter, below);
    let row = |prompt: &[u32], counter: u64, odd: u32| {
        let answer = (0..2 + draw(counter, 5)).map(|i| 2 * draw(counter + 1 + i, 8) as u32 + odd);
        Row { ids: prompt.iter().copied().chain(answer).collect(), answer: prompt.len() }
    };
    let pair = |index: u64| {
        let of = index / 2;
        let prompt: Vec<u32> = (0..1 + draw(of, 24)).map(|i| draw(1000 + of * 32 + i, 16) as u32).collect();
        Pair {
            chosen: row(&prompt, 10_000 + index * 32, 0),
            rejected: row(&prompt, 20_000 + index * 32, 1),
            prompt: of,
        }
    };
    Pairs { pairs: (0..80).map(pair).collect(), ..Pairs::default() }
}

fn model(gpu: &Gpu, lora: Option<&LoraConfig>) -> Gpt {
    let config = Config { kv_heads: 2, ..Config::llama(VOCABULARY, 48, 2, 4, 32) };
    let model = Gpt::new(gpu, &config, 11).expect("a model");
    match lora {
        None => model,
        Some(config) => {
            let base = Base { path: PathBuf::from("base"), fingerprint: String::new() };
            model.with_lora(Lora { config: config.clone(), base }, 5).expect("adapters")
        }
    }
}

struct Run {
    task: Dpo,
    trainer: Trainer,
    settings: Settings,
}

impl Run {
    fn new(gpu: &Gpu, lora: Option<LoraConfig>, batch: usize, accumulate: usize) -> Self {
        let model = model(gpu, lora.as_ref());
        let mut settings = Settings::dpo(model.config().clone(), lora);
        (settings.batch, settings.accumulate, settings.val_fraction) = (batch, accumulate, 0.25);
        settings.schedule.lr = if settings.lora.is_some() { 1e-2 } else { 2e-3 };
        (settings.schedule.min_lr, settings.schedule.warmup, settings.schedule.steps) = (1e-4, 2, 24);
        let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
        let mut task = Dpo::new(pairs(), &settings, Vec::new()).expect("settings of DPO");
        task.rehearse(&mut trainer, &settings).expect("a rehearsal");
        if settings.lora.is_none() {
            let dir = tempfile::tempdir().expect("a folder");
            let mut done = 0;
            let known = task.remember(&trainer, &settings, dir.path(), |pairs| done = pairs);
            pollster::block_on(known).expect("the reference");
            assert_eq!(done, 80);
            // The reference read from its file is the same.
            task.recall(dir.path()).expect("the reference");
            let mut other =
                Dpo::new(Pairs { pairs: pairs().pairs[..7].to_vec(), ..Pairs::default() }, &settings, Vec::new())
                    .expect("settings of DPO");
            let refused = other.recall(dir.path()).expect_err("other pairs").to_string();
            assert!(refused.contains("[80, 2]"), "{refused}");
        }
        Self { task, trainer, settings }
    }

    fn step(&mut self, step: u64) -> Outcome {
        let pending = self.task.step(&mut self.trainer, &self.settings, step).expect("a step");
        pollster::block_on(pending.outcome()).expect("its numbers")
    }

    fn validate(&mut self) -> Validation {
        let found = pollster::block_on(self.task.validate(&self.trainer, &self.settings));
        found.expect("a validation").expect("something is held out")
    }
}

#[test]
fn preferences_are_learned() {
    let device = device();
    let lora = LoraConfig { rank: 4, alpha: 8.0, targets: Target::ALL.to_vec(), last: None };
    for lora in [None, Some(lora)] {
        let mut run = Run::new(&device.gpu, lora, 8, 1);
        let name = if run.settings.lora.is_some() { "adapters" } else { "the whole model" };
        let before = run.validate();
        assert!((before.loss - std::f64::consts::LN_2).abs() < 1e-6, "{name}: {before:?}");
        let first = run.step(0);
        assert!((first.loss - std::f32::consts::LN_2).abs() < 1e-6, "{name}: the first loss is {}", first.loss);
        let last = (1..24).map(|step| run.step(step)).last().expect("steps");
        let after = run.validate();
        let more = |wanted: &str| after.metrics.iter().find(|(name, _)| *name == wanted).expect("it is measured").1;
        // Adapters cannot enlarge the small head of an untrained model, so they do not get as far.
        let (loss, margin) = if run.settings.lora.is_some() { (0.66, 0.1) } else { (0.55, 0.3) };
        assert!(f64::from(last.loss) < loss && after.loss < loss, "{name}: {last:?} {after:?}");
        assert!(more("val_accuracy") >= 0.95 && more("val_margin") > margin, "{name}: {after:?}");
        assert!(more("val_accuracy_low") > 0.75 && more("val_accuracy_high") <= 1.0, "{name}: {after:?}");
        let margin = last.metrics.iter().find(|(name, _)| *name == "margin").expect("it is measured").1;
        let reward = |wanted: &str| last.metrics.iter().find(|(name, _)| *name == wanted).expect("it is measured").1;
        assert!((margin - (reward("chosen_reward") - reward("rejected_reward"))).abs() < 1e-4, "{name}: {last:?}");
    }
}

#[test]
fn micro_batches_add_up() {
    let device = device();
    let losses = |batch, accumulate| {
        let mut run = Run::new(&device.gpu, None, batch, accumulate);
        (0..6).map(|step| run.step(step)).collect::<Vec<_>>()
    };
    for (whole, parts) in losses(8, 1).iter().zip(losses(2, 4)) {
        assert!((whole.loss - parts.loss).abs() < 2e-5, "{whole:?} {parts:?}");
        assert!((whole.norm - parts.norm).abs() < 1e-3 * whole.norm, "{whole:?} {parts:?}");
    }
}

/// Padding and neighbours change nothing: an answer's log-probability is the same as alone, and the sum of its tokens'.
#[test]
fn answers_are_scored_alone() {
    let device = device();
    let (gpu, tape) = (&device.gpu, Tape::off(&device.gpu));
    let (model, pairs) = (model(gpu, None), pairs());
    let rows: Vec<&Row> = pairs.pairs[..5].iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect();
    let sums = |rows: &[&Row], length: usize| {
        let batch = padded(rows.iter().copied(), length);
        let sums = answer_logprobs(&tape, &model, &batch, wgpt::model::gpt::Pass::default()).expect("sums");
        pollster::block_on(sums.to_f32()).expect("a readback")
    };
    let together = sums(&rows, 40);
    for (row, together) in rows.iter().zip(together) {
        let alone = sums(&[row], row.ids.len() - 1)[0];
        assert!((alone - together).abs() < 1e-4 * alone.abs(), "{alone} {together}");
        let tokens: f32 = (row.answer..row.ids.len())
            .map(|end| sums(&[&Row { ids: row.ids[..=end].to_vec(), answer: end }], end)[0])
            .sum();
        assert!((alone - tokens).abs() < 1e-4 * alone.abs(), "{alone} {tokens}");
    }
}
