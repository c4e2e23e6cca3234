//! Adapters in files: saved alone, loaded again with their base, resumed, merged, and refused with any other base.

use std::{fs, path::Path};

use wgpt::{
    formats::Format,
    gpu::Gpu,
    interchange::{
        self, TextCodec,
        adapter::{self, Adapters},
        checkpoint::CheckpointSource,
        gguf, huggingface, load,
    },
    model::{
        Gpt,
        gpt::Pass,
        lora::{LoraConfig, Target},
    },
    ops::embedding::Tokens,
    tape::Tape,
    text::{Tokenizer, batches::Batch},
    train::{Settings, state, trainer::Trainer},
};

use crate::device::device;

/// Writes a model of the fixtures with a tokenizer to `path`: a folder in f32, or, if its extension
/// says so, a GGUF file in Q8_0.
pub fn place(name: &str, path: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/hf");
    let source = interchange::open(&fixtures.join(name)).expect("the fixture");
    let codec = TextCodec::plain(Tokenizer::load(&fixtures.join("tokenizer.json")).expect("a tokenizer"));
    match path.extension() {
        Some(_) => gguf::save(&*source, Some(&codec), path, Format::Q8_0),
        None => huggingface::save(&*source, Some(&codec), path, Format::F32),
    }
    .expect("saved");
}

fn logits(gpu: &Gpu, model: &Gpt) -> Vec<f32> {
    let (tape, ids) = (Tape::off(gpu), [3, 1, 4, 1, 5, 9, 2, 6]);
    let tokens = Tokens::new(gpu, &ids, 1, ids.len(), false).expect("tokens");
    let hidden = model.forward(&tape, &tokens, Pass::default(), None).expect("a forward pass");
    pollster::block_on(model.logits(&tape, &hidden).expect("logits").to_f32()).expect("a readback")
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |most, (a, b)| if (a - b).is_finite() { most.max((a - b).abs()) } else { f32::INFINITY })
}

pub fn step(trainer: &mut Trainer) -> f32 {
    let ids: Vec<u32> = (0..17).map(|i| i * i % 23).collect();
    let batch = Batch { inputs: ids[..16].to_vec(), targets: ids[1..].to_vec(), rows: 2, context: 8, starts: None };
    let pending = trainer.step(&[batch]).expect("a step");
    pollster::block_on(pending.outcome()).expect("an outcome").loss
}

#[test]
fn adapters_round_trip_and_merge() {
    let device = device();
    let gpu = &device.gpu;
    for (name, base) in [("gpt2", "base"), ("llama-grouped", "base"), ("qwen3", "base"), ("llama", "base.gguf")] {
        let dir = tempfile::tempdir().expect("a folder");
        let (base, out) = (dir.path().join(base), dir.path().join("run"));
        place(name, &base);
        let config = LoraConfig { rank: 3, alpha: 12.0, targets: Target::ALL.to_vec(), last: None };
        let model = load::tunable(gpu, &base, Some(&config), 7, |_, _| ()).expect("a model");
        let mut settings = Settings::recipe(model.config().clone());
        (settings.schedule.lr, settings.schedule.warmup) = (1e-2, 0);
        let start = logits(gpu, &model);
        let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
        let (first, last) = (step(&mut trainer), (0..4).map(|_| step(&mut trainer)).last());
        assert!(last.is_some_and(|last| last < first), "{name}: {first} {last:?}");
        let tokenizer = interchange::tokenizer(&base).expect("a tokenizer");
        let folder =
            pollster::block_on(state::save(&out, &trainer, &TextCodec::plain(tokenizer.clone()), &settings, None))
                .expect("saved")
                .expect("a rank that is alone is the first");
        assert!(!folder.join("model.safetensors").exists(), "adapters are saved alone");

        let trained = logits(gpu, &trainer.model);
        assert!(worst(&start, &trained) > 1e-2, "{name}: the adapters do something");
        let (loaded, _) = load::load(gpu, &out).expect("loaded");
        assert_eq!(trained, logits(gpu, &loaded), "{name}: the same bits from the files");

        let (mut resumed, _, state) = state::resume(gpu, &out).expect("resumed");
        assert_eq!((state.step, resumed.model.parameters().len()), (5, trainer.model.parameters().len()));
        assert_eq!(step(&mut resumed).to_bits(), step(&mut trainer).to_bits(), "{name}");
        assert_eq!(logits(gpu, &resumed.model), logits(gpu, &trainer.model), "{name}: resumed bit for bit");

        let merged = interchange::open(&out).expect("a model");
        let found = worst(&trained, &logits(gpu, &Gpt::from_source(gpu, &*merged).expect("a model")));
        assert!(found < 1e-4, "{name}: merged logits are off by {found}");
        let saved = dir.path().join("merged");
        huggingface::save(&*merged, None, &saved, Format::F32).expect("saved");
        let saved = interchange::open(&saved).expect("a model");
        let found = worst(&trained, &logits(gpu, &Gpt::from_source(gpu, &*saved).expect("a model")));
        assert!(found < 1e-4, "{name}: the logits of the saved merged model are off by {found}");
    }
}

#[test]
fn another_base_is_refused() {
    let device = device();
    let gpu = &device.gpu;
    let dir = tempfile::tempdir().expect("a folder");
    let [base, quantised, other, out] = ["base", "base.gguf", "other", "run"].map(|name| dir.path().join(name));
    place("llama", &base);
    place("llama", &quantised);
    place("gpt2", &other);
    let config = LoraConfig { rank: 2, alpha: 4.0, targets: vec![Target::Down], last: None };
    let model = load::tunable(gpu, &base, Some(&config), 7, |_, _| ()).expect("a model");
    let settings = Settings::recipe(model.config().clone());
    let trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
    let tokenizer = interchange::tokenizer(&base).expect("a tokenizer");
    pollster::block_on(state::save(&out, &trainer, &TextCodec::plain(tokenizer.clone()), &settings, None))
        .expect("saved");
    let says = |error: wgpt::Result<()>, words: &str| {
        let text = error.expect_err(words).to_string();
        assert!(text.contains(words), "{text}");
    };
    let adapters = Adapters::open(&out).expect("adapters");
    adapters.base_at(&base).map(|_| ()).expect("their own base");
    says(adapters.base_at(&quantised).map(|_| ()), "holds other weights; give them their own base");
    says(adapters.base_at(&other).map(|_| ()), "with");
    says(adapters.base_at(&out).map(|_| ()), "adapters cannot be a base");
    says(adapter::base(&out).map(|_| ()), "`wgpt merge`");
    says(CheckpointSource::open(&out).map(|_| ()), "adapters, not a whole model");
    says(Adapters::open(&base).map(|_| ()), "a whole model, not adapters");
    let wide = LoraConfig { rank: 100_000, ..config };
    says(load::tunable(gpu, &base, Some(&wide), 7, |_, _| ()).map(|_| ()), "LoRA rank 100000: give 1 to");
    fs::rename(&base, dir.path().join("moved")).expect("moved");
    says(interchange::open(&out).map(|_| ()), "is not there any more; put it back, or change base.path");
}
