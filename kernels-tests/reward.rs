//! The reward model: synthetic preferences are learned nearly as well as possible, and packing and files change nothing.

use std::{path::Path, sync::atomic::AtomicBool};

use wgpt::{
    gpu::Gpu,
    interchange::TextCodec,
    model::{
        Config, Gpt,
        heads::{ScalarHead, Start},
    },
    optim::Schedule,
    random,
    text::Tokenizer,
    train::{
        Settings,
        reward::{Comparison, Label, Objective, Recipe, Reward, RewardModel, data::split, rewards, rows},
        settings::Common,
        supervised::{Summary, Supervised, Task},
        trainer::{Outcome, Trainer},
    },
};

use crate::device::device;

const VOCABULARY: u64 = 20;
const END: u32 = 19;
const SEED: u64 = 11;

/// Text number `index`: 3 to 10 tokens and the end token.
fn text(index: u64) -> Vec<u32> {
    let length = 3 + random::below(SEED, 1, index, 8);
    let token = |i| random::below(SEED, 2, index << 8 | i, VOCABULARY - 1) as u32;
    (0..length).map(token).chain([END]).collect()
}

/// The true worth of a text: a sum over its tokens.
fn worth(text: &[u32]) -> f64 {
    text.iter().filter(|id| **id != END).map(|id| 0.8 * f64::from(random::normal(SEED, 3, u64::from(*id)))).sum()
}

/// `count` pairs, the first of which is preferred with probability sigmoid(difference of worth)
/// (Bradley and Terry 1952).
fn pairs(count: u64) -> Vec<Comparison> {
    let pair = |index: u64| {
        let (a, b) = (text(2 * index), text(2 * index + 1));
        let probability = 1.0 / (1.0 + (worth(&b) - worth(&a)).exp());
        let texts = if random::uniform(SEED, 4, index) < probability { vec![a, b] } else { vec![b, a] };
        Comparison { prompt: index as u32, texts, label: Label::Best(0) }
    };
    (0..count).map(pair).collect()
}

/// Choices among two to five texts by the same people: the best one by worth plus Gumbel noise.
fn choices(count: u64) -> Vec<Comparison> {
    let choice = |index: u64| {
        let texts: Vec<_> = (0..2 + index % 4).map(|i| text(8 * index + i)).collect();
        let noise = |i: usize| -(-random::uniform(SEED, 5, 8 * index + i as u64).max(1e-12).ln()).ln();
        let felt = |i: &usize| worth(&texts[*i]) + noise(*i);
        let best = (0..texts.len()).max_by(|a, b| felt(a).total_cmp(&felt(b))).unwrap_or(0);
        Comparison { prompt: index as u32, texts, label: Label::Best(best) }
    };
    (0..count).map(choice).collect()
}

/// Four scored answers to each prompt.
fn scores(count: u64) -> Vec<Comparison> {
    let score = |index: u64| {
        let text = text(index);
        let label = Label::Score(3.0 + worth(&text));
        Comparison { prompt: index as u32 / 4, texts: vec![text], label }
    };
    (0..count).map(score).collect()
}

fn settings(recipe: Recipe) -> Settings {
    let base = Settings::reward(Config::gpt2(VOCABULARY as usize, 16, 2, 2, 32), recipe);
    let schedule = Schedule { lr: 4e-3, warmup: 4, ..base.schedule };
    let common = Common { seed: SEED, ..base.common };
    Settings { schedule, val_fraction: 0.3, val_batches: 1000, val_every: 1000, common, ..base }
}

fn trainer(gpu: &Gpu, settings: &Settings) -> Trainer {
    let model = Gpt::new(gpu, &settings.config, 5).expect("a model");
    let head = ScalarHead::new(gpu, settings.config.width, Start::Normal(5)).expect("a head");
    Trainer::with_head(gpu, model, Some(head), settings).expect("a trainer")
}

/// Trains on `comparisons`, and passes the run to `look`.
fn train<T>(
    gpu: &Gpu,
    comparisons: &[Comparison],
    recipe: Recipe,
    look: impl FnOnce(&Supervised<'_, Reward>, Summary, &Path) -> T,
) -> T {
    let dir = tempfile::tempdir().expect("a folder");
    let mut settings = settings(recipe);
    let task = Reward::new(comparisons.to_vec(), &settings, recipe, None).expect("a task");
    settings.schedule.steps = task.steps(&settings);
    settings.val_every = settings.schedule.steps;
    let letters: String = ('a'..).take(VOCABULARY as usize).collect();
    let codec = TextCodec::plain(Tokenizer::chars_of([letters.as_str()]).expect("a tokenizer"));
    let (trainer, stop) = (trainer(gpu, &settings), AtomicBool::new(false));
    let mut stage = Supervised { out: dir.path(), settings, task, codec, trainer, best_val_loss: None, stop: &stop };
    let summary = pollster::block_on(stage.run(|_| ())).expect("a run");
    look(&stage, summary, dir.path())
}

fn score(gpu: &Gpu, trainer: &Trainer, texts: &[&[u32]]) -> Vec<f32> {
    let head = trainer.head.as_ref().expect("a head");
    pollster::block_on(rewards(gpu, (&trainer.model, head), texts, (16, 64), |_| ())).expect("rewards")
}

/// The acceptance figure: at least 95 % of the accuracy that the true rewards have on the same labels.
#[test]
fn synthetic_preferences_are_learned_nearly_as_well_as_possible() {
    let device = device();
    let gpu = &device.gpu;
    let comparisons = pairs(4500);
    let (trained, held) = split(&comparisons, 0.3, SEED);
    let right = |index: &&u32| {
        let texts = &comparisons[**index as usize].texts;
        worth(&texts[0]) > worth(&texts[1])
    };
    let bayes = held.iter().filter(right).count() as f64 / held.len() as f64;
    let recipe = Recipe::new(Objective::Pairs);
    // Before training, a head of zeros has loss ln 2; random rewards with deviation s cost about s^2 / 4 more.
    let fresh = Settings { val_batches: 10, ..settings(recipe) };
    let mut task = Reward::new(comparisons.clone(), &fresh, recipe, None).expect("a task");
    let mut before = |start| {
        let head = ScalarHead::new(gpu, fresh.config.width, start).expect("a head");
        let mut trainer = trainer(gpu, &fresh);
        trainer.head = Some(head);
        let found = pollster::block_on(task.validate(&trainer, &fresh)).expect("a validation").expect("held-out pairs");
        (found.loss - std::f64::consts::LN_2, task.evaluation.as_ref().expect("an evaluation").deviation)
    };
    assert!(before(Start::Zeros).0.abs() < 1e-6);
    let (above, deviation) = before(Start::Normal(5));
    assert!(above.abs() < 0.03 + deviation * deviation / 4.0 && deviation < 1.5, "{above} {deviation}");
    train(gpu, &comparisons, recipe, |stage, summary, out| {
        let found = stage.task.evaluation.clone().expect("an evaluation");
        let accuracy = found.accuracy.expect("an accuracy");
        println!(
            "accuracy {accuracy:.4} {:?}, Bayes {bayes:.4}, calibration error {:.4}, loss above ln 2 at first {above:.4}, of the first step {:.4}, log-loss {:.4}",
            found.interval.expect("an interval"),
            found.calibration_error.expect("a calibration"),
            summary.first_loss,
            found.log_loss.expect("a log-loss"),
        );
        assert_eq!((found.comparisons, found.chance), (held.len(), Some(0.5)));
        assert!(accuracy >= 0.95 * bayes, "{accuracy} of {bayes}");
        assert!(found.calibration_error.is_some_and(|error| error < 0.1), "{found:?}");
        for name in ["evaluation.json", "calibration.svg", "loss.svg"] {
            assert!(out.join(name).is_file(), "{name}");
        }

        // The judge is the trained model on another scale: training answers have mean 0 and standard deviation 1.
        let judge = RewardModel::open(gpu, out).expect("a judge");
        let texts: Vec<&[u32]> =
            trained.iter().flat_map(|index| comparisons[*index as usize].texts.iter().map(Vec::as_slice)).collect();
        let judged = pollster::block_on(judge.score_tokens(&texts, |_| ())).expect("scores");
        let mean = judged.iter().sum::<f32>() / judged.len() as f32;
        let deviation = (judged.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / judged.len() as f32).sqrt();
        assert!(
            mean.abs() < 0.05 && (deviation - 1.0).abs() < 0.05,
            "{mean} {deviation}: a sample of them has 0 and 1"
        );
        let own = score(gpu, &stage.trainer, &texts);
        assert!(judged.iter().zip(&own).all(|(a, b)| (a - b).abs() < 1e-4), "files change nothing");
        let normalised = stage.task.normalised.expect("normalised");
        assert!(normalised.texts <= 1024 && normalised.deviation > 0.1, "{normalised:?}");
    });
}

#[test]
fn the_best_of_several_and_scores_are_learned() {
    let device = device();
    let gpu = &device.gpu;
    train(gpu, &choices(1400), Recipe::new(Objective::Best), |stage, _, _| {
        let found = stage.task.evaluation.as_ref().expect("an evaluation");
        let (accuracy, chance) = (found.accuracy.expect("an accuracy"), found.chance.expect("chance"));
        println!("best of 2 to 5: {accuracy:.3}, guessing {chance:.3}");
        assert!(accuracy > chance + 0.2, "{found:?}");
    });
    train(gpu, &scores(1600), Recipe::new(Objective::Scores), |stage, _, _| {
        let found = stage.task.evaluation.as_ref().expect("an evaluation");
        println!("scores: squared error {:?}, order {:?}", found.squared_error, found.accuracy);
        assert!(found.squared_error.is_some_and(|error| error < 0.5), "{found:?}");
        assert!(found.accuracy.is_some_and(|accuracy| accuracy > 0.75), "{found:?}");
    });
}

/// A step in one micro-batch and in many gives the same loss and gradient.
#[test]
fn micro_batches_change_nothing() {
    let device = device();
    let gpu = &device.gpu;
    for (comparisons, objective) in
        [(pairs(40), Objective::Pairs), (choices(40), Objective::Best), (scores(40), Objective::Scores)]
    {
        let run = |tokens| -> Outcome {
            let recipe = Recipe { tokens, margin: 0.3, centring: 0.01, ..Recipe::new(objective) };
            let settings = settings(recipe);
            let mut trainer = trainer(gpu, &settings);
            let mut task = Reward::new(comparisons.clone(), &settings, recipe, None).expect("a task");
            let pending = task.step(&mut trainer, &settings, 0).expect("a step");
            pollster::block_on(pending.outcome()).expect("an outcome")
        };
        let (whole, parts) = (run(1 << 16), run(32));
        assert!((whole.loss - parts.loss).abs() < 1e-5, "{objective:?}: {whole:?} {parts:?}");
        assert!((whole.norm - parts.norm).abs() < 1e-4 * whole.norm, "{objective:?}: {whole:?} {parts:?}");
        assert_eq!(whole.metrics.is_empty(), objective != Objective::Pairs);
        let mut both = whole.metrics.iter().zip(&parts.metrics);
        assert!(both.all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-5), "{whole:?} {parts:?}");
    }
}

#[test]
fn a_text_scores_the_same_in_any_company() {
    let device = device();
    let gpu = &device.gpu;
    for config in [Config::gpt2(20, 32, 2, 2, 32), Config::llama(20, 32, 2, 2, 32)] {
        let settings = Settings { config, ..settings(Recipe::new(Objective::Pairs)) };
        let trainer = trainer(gpu, &settings);
        let texts: Vec<Vec<u32>> = (0..23).map(text).collect();
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let of = |texts: &[&[u32]], width, tokens| {
            let parts = (&trainer.model, trainer.head.as_ref().expect("a head"));
            pollster::block_on(rewards(gpu, parts, texts, (width, tokens), |_| ())).expect("rewards")
        };
        let packed = of(&texts, 32, 256);
        let turned: Vec<&[u32]> = texts.iter().rev().copied().collect();
        let reversed = of(&turned, 16, 64);
        for (index, text) in texts.iter().enumerate() {
            let alone = of(&[text], text.len(), 1)[0];
            let (a, b) = (packed[index], reversed[22 - index]);
            assert!((alone - a).abs() < 1e-4 && (alone - b).abs() < 1e-4, "{alone} {a} {b}");
        }
        assert!(
            pollster::block_on(rewards(
                gpu,
                (&trainer.model, trainer.head.as_ref().expect("a head")),
                &[&[]],
                (16, 64),
                |_| ()
            ))
            .is_err()
        );
        assert_eq!(rows::width(11, 32), 16);
    }
}

#[test]
fn scores_that_do_not_differ_are_refused() {
    let same: Vec<_> =
        (0..8).map(|prompt| Comparison { prompt, texts: vec![text(1)], label: Label::Score(2.0) }).collect();
    let recipe = Recipe::new(Objective::Scores);
    let refused = Reward::new(same, &settings(recipe), recipe, None).err().expect("a refusal").to_string();
    assert!(refused.contains("training scores are 2"), "{refused}");
}
