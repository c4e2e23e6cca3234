//! A training run saved as one byte string: it continues bit for bit, and its model is the same in a GGUF file.

use std::path::Path;

use wgpt::{
    formats::gguf::GgufFile,
    interchange::{TextCodec, gguf},
    model::{Config, Gpt, gpt::Pass},
    ops::embedding::Tokens,
    tape::Tape,
    text::{Tokenizer, shards},
    train::{Settings, portable, pretrain::Pretrain, supervised::Task, trainer::Trainer},
};

use crate::device::device;

const TEXT: &str =
    "To be, or not to be, that is the question: 要生存还是毁灭, whether 'tis nobler in the mind to suffer";

fn step(task: &mut Pretrain, trainer: &mut Trainer, settings: &Settings) -> f32 {
    let pending = task.step(trainer, settings, trainer.optimizer.step).expect("a step");
    pollster::block_on(pending.outcome()).expect("an outcome").loss
}

#[test]
fn a_run_survives_a_round_trip() {
    let device = device();
    let gpu = &device.gpu;
    let text = TEXT.repeat(4);
    let tokenizer = Tokenizer::chars_of([text.as_str()]).expect("characters");
    let config = Config::gpt2(tokenizer.vocab_size(), 16, 2, 2, 16);
    let mut settings = Settings { batch: 3, ..Settings::recipe(config) };
    (settings.schedule.lr, settings.schedule.warmup) = (1e-2, 0);
    let split = || shards::in_memory(&text, &tokenizer, settings.val_fraction).expect("tokens");
    let mut task = Pretrain { split: split() };
    let model = Gpt::new(gpu, &settings.config, settings.common.seed).expect("a model");
    let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
    let first = step(&mut task, &mut trainer, &settings);
    let last = (0..4).map(|_| step(&mut task, &mut trainer, &settings)).last();
    assert!(last.is_some_and(|last| last < first), "{first} {last:?}");

    let bytes = pollster::block_on(portable::save(&trainer, &tokenizer, &settings, Some(3.5))).expect("saved");
    let (mut resumed, again, state) = portable::resume(gpu, bytes.clone()).expect("resumed");
    assert_eq!((state.step, state.best_val_loss, &state.settings), (5, Some(3.5), &settings));
    assert_eq!(again.to_json(), tokenizer.to_json());
    let mut other = Pretrain { split: split() };
    for _ in 0..2 {
        let (one, two) = (step(&mut task, &mut trainer, &settings), step(&mut other, &mut resumed, &settings));
        assert_eq!(one.to_bits(), two.to_bits());
    }

    let codec = TextCodec::plain(tokenizer.clone());
    let exported = pollster::block_on(portable::export(&trainer.model, &codec, "tab.gguf")).expect("exported");
    let file = GgufFile::parse(Path::new("tab.gguf"), exported).expect("a GGUF file");
    assert_eq!(TextCodec::of_gguf(&file).expect("a language").tokenizer.encode(TEXT).ok(), tokenizer.encode(TEXT).ok());
    let copy = Gpt::from_source(gpu, &gguf::Model::from_file(file).expect("a model")).expect("a model");
    let logits = |model: &Gpt| {
        let (tape, ids) = (Tape::off(gpu), tokenizer.encode("to be or not").expect("tokens"));
        let tokens = Tokens::new(gpu, &ids, 1, ids.len(), false).expect("tokens");
        let hidden = model.forward(&tape, &tokens, Pass::default(), None).expect("a forward pass");
        pollster::block_on(model.logits(&tape, &hidden).expect("logits").to_f32()).expect("a readback")
    };
    let worst = logits(&trainer.model).iter().zip(logits(&copy)).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(worst < 1e-5, "logits of the copy are off by {worst}");

    let says = |bytes: Vec<u8>, words: &str| {
        let error = portable::resume(gpu, bytes).map(|_| ()).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    says(bytes[..bytes.len() / 2].to_vec(), "truncated");
    says(vec![1, 2, 3], "truncated, or not a safetensors file");
}
