//! Texts that share a row or a batch give the same results as each alone: in training with segments, in
//! decoding with left padding.

use wgpt::{
    gpu::Gpu,
    model::{Config, Gpt, cache::Cache, config::Positions, gpt::Pass},
    ops::embedding::Tokens,
    random,
    tape::Tape,
    text::batches::{Batch, IGNORED},
    train::{Settings, trainer::Trainer},
};

use crate::{
    device::device,
    support::{assert_close, to_f64},
};

const VOCABULARY: usize = 40;

fn ids(seed: u64, count: usize) -> Vec<u32> {
    (0..count as u64).map(|i| random::below(seed, 1, i, VOCABULARY as u64) as u32).collect()
}

fn configurations() -> Vec<Config> {
    let sinusoidal = Config { positions: Positions::Sinusoidal, ..Config::gpt2(VOCABULARY, 24, 2, 4, 32) };
    let grouped = Config { kv_heads: 2, ..Config::llama(VOCABULARY, 24, 2, 4, 32) };
    vec![Config::gpt2(VOCABULARY, 24, 2, 4, 32), sinusoidal, grouped]
}

/// Rows of 12 tokens, packed with texts of these lengths; the rest is padding, where each token is a text of its own.
const ROWS: [&[usize]; 2] = [&[5, 1, 4], &[12]];
const CONTEXT: usize = 12;

#[test]
fn a_packed_batch_trains_as_its_texts_one_by_one() {
    let device = device();
    for config in configurations() {
        for checkpoint in [false, true] {
            let settings = Settings { context: CONTEXT, ..Settings::recipe(config.clone()) };
            let mut packed =
                Batch { inputs: vec![], targets: vec![], starts: Some(vec![]), rows: ROWS.len(), context: CONTEXT };
            let mut alone = Vec::new();
            for (row, lengths) in ROWS.iter().enumerate() {
                let padding = CONTEXT - lengths.iter().sum::<usize>();
                let mut start = 0;
                for (index, length) in lengths.iter().copied().chain(std::iter::repeat_n(1, padding)).enumerate() {
                    let text = ids((row * 10 + index) as u64, length + 1);
                    let mut targets = text[1..].to_vec();
                    // Some targets of every text are ignored, and all of the padding.
                    targets.iter_mut().step_by(3).skip(1).for_each(|target| *target = IGNORED);
                    if index >= lengths.len() {
                        targets.fill(IGNORED);
                    } else {
                        let (inputs, targets) = (text[..length].to_vec(), targets.clone());
                        alone.push(Batch { inputs, targets, starts: None, rows: 1, context: length });
                    }
                    packed.inputs.extend(&text[..length]);
                    packed.targets.extend(targets);
                    packed.starts.as_mut().expect("segments").extend(vec![start; length]);
                    start += length as u32;
                }
            }
            let run = |batches: &[Batch]| {
                let pass = Pass { checkpoint, ..Pass::default() };
                let model = Gpt::new(&device.gpu, &config, 5).expect("a model");
                let mut trainer = Trainer::new(&device.gpu, model, &settings).expect("a trainer");
                let scored = |batch: &Batch| batch.targets.iter().filter(|&&id| id != IGNORED).count() as f32;
                let all: f32 = batches.iter().map(scored).sum();
                let mut loss = 0.0;
                for batch in batches {
                    let share = scored(batch) / all;
                    let mean = trainer.accumulate(batch, pass, share, true).expect("a pass");
                    loss += pollster::block_on(mean.to_f32()).expect("a loss")[0] * share;
                }
                let gradient = |(name, tensor): &(String, wgpt::tensor::Tensor)| {
                    let gradient = trainer.gradients().get(tensor).unwrap_or_else(|| panic!("{name} has a gradient"));
                    (name.clone(), pollster::block_on(gradient.to_f32()).expect("a gradient"))
                };
                (loss, trainer.model.parameters().iter().map(gradient).collect::<Vec<_>>())
            };
            let ((loss, gradients), (loss_alone, gradients_alone)) = (run(std::slice::from_ref(&packed)), run(&alone));
            assert!((loss - loss_alone).abs() < 1e-5, "{loss} {loss_alone}: {config:?}");
            for ((name, packed), (_, alone)) in gradients.iter().zip(&gradients_alone) {
                assert_close(name, packed, &to_f64(alone), 1e-6, 1e-3);
            }
        }
    }
}

#[test]
fn masked_batches_give_zero_and_not_nan() {
    let device = device();
    let config = Config::gpt2(VOCABULARY, 8, 1, 2, 16);
    let settings = Settings::recipe(config.clone());
    let mut trainer =
        Trainer::new(&device.gpu, Gpt::new(&device.gpu, &config, 5).expect("a model"), &settings).expect("a trainer");
    let masked = Batch { inputs: ids(1, 8), targets: vec![IGNORED; 8], starts: Some(vec![0; 8]), rows: 1, context: 8 };
    let pending = trainer.step(&[masked.clone(), masked]).expect("a step");
    let outcome = pollster::block_on(pending.outcome()).expect("an outcome");
    assert_eq!((outcome.loss, outcome.norm), (0.0, 0.0));
}

#[test]
fn invalid_segments_are_refused() {
    let device = device();
    for starts in [[0, 2, 2, 2], [0, 1, 0, 0], [1, 1, 1, 1]] {
        let error = Tokens::with_segments(&device.gpu, &[1, 2, 3, 4], &starts, 1, 4, true).err();
        assert!(error.is_some_and(|error| error.to_string().contains("cannot begin at")), "{starts:?}");
    }
}

/// The scores after each chunk of `texts`, which all have the same length.
fn scores(gpu: &Gpu, model: &Gpt, texts: &[Vec<u32>], starts: Option<&[u32]>, chunks: &[usize]) -> Vec<Vec<f32>> {
    let (tape, config) = (Tape::off(gpu), model.config());
    let mut cache = Cache::new(gpu, config, texts.len(), config.context).expect("a cache");
    if let Some(starts) = starts {
        cache.begin_at(starts).expect("starts");
    }
    let (mut done, mut all) = (0, Vec::new());
    for &chunk in chunks {
        let ids: Vec<u32> = texts.iter().flat_map(|text| text[done..done + chunk].to_vec()).collect();
        let tokens = Tokens::new(gpu, &ids, texts.len(), chunk, false).expect("tokens");
        let hidden = model.forward(&tape, &tokens, Pass::default(), Some(&mut cache)).expect("a pass");
        let logits = model.logits(&tape, &hidden).expect("scores");
        all.push(pollster::block_on(logits.to_f32()).expect("scores"));
        done += chunk;
    }
    all
}

#[test]
fn a_left_padded_batch_decodes_as_each_text_alone() {
    let device = device();
    let gpu = &device.gpu;
    for config in configurations() {
        let model = Gpt::new(gpu, &config, 9).expect("a model");
        // The last text begins only after the first chunk.
        let starts = [0, 3, 6];
        for chunks in [[5, 4, 1, 1, 1], [2, 5, 3, 1, 1]] {
            let texts: Vec<Vec<u32>> = (0..3).map(|z| ids(20 + z, 12)).collect();
            let together = scores(gpu, &model, &texts, Some(&starts), &chunks);
            for (z, start) in starts.iter().map(|start| *start as usize).enumerate() {
                let text = texts[z][start..].to_vec();
                let expected = scores(gpu, &model, std::slice::from_ref(&text), None, &[text.len()]);
                let mut position = 0;
                for (chunk, logits) in chunks.iter().zip(&together) {
                    let row = |t: usize| &logits[(z * chunk + t) * VOCABULARY..][..VOCABULARY];
                    for t in (0..*chunk).filter(|t| position + t >= start) {
                        let alone = &expected[0][(position + t - start) * VOCABULARY..][..VOCABULARY];
                        assert_close("padded", row(t), &to_f64(alone), 1e-4, 0.0);
                    }
                    position += chunk;
                }
            }
        }
    }
}
