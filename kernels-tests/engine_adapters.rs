//! One model with several named adapters: each answers like its base with the adapter merged.

use wgpt::{
    infer::{
        engine::{Engine, Settings},
        sampler::Sampling,
    },
    interchange::{self, TextCodec, load},
    model::{
        Gpt,
        build::Storage,
        lora::{LoraConfig, Target},
    },
    ops::kv::paged::PAGE,
    train::{Settings as Training, state, trainer::Trainer},
};

use crate::{
    adapters::{place, step},
    device::device,
    engine_support::{alone, greedy, prompt, request, run as run_all},
};

#[test]
fn each_name_answers_as_its_merged_model() {
    let device = device();
    let gpu = &device.gpu;
    let dir = tempfile::tempdir().expect("a folder");
    let base = dir.path().join("base");
    place("llama-grouped", &base);
    let codec = TextCodec::plain(interchange::tokenizer(&base).expect("a tokenizer"));
    let paths: Vec<_> = [(3, 5u64), (2, 6)]
        .into_iter()
        .map(|(rank, seed)| {
            let config = LoraConfig { rank, alpha: 12.0, targets: Target::ALL.to_vec(), last: None };
            let model = load::tunable(gpu, &base, Some(&config), seed, |_, _| ()).expect("a model");
            let mut settings = Training::recipe(model.config().clone());
            (settings.schedule.lr, settings.schedule.warmup) = (3e-2, 0);
            let mut trainer = Trainer::new(gpu, model, &settings).expect("a trainer");
            for _ in 0..4 {
                step(&mut trainer);
            }
            let out = dir.path().join(format!("run{rank}"));
            pollster::block_on(state::save(&out, &trainer, &codec, &settings, None)).expect("saved");
            out
        })
        .collect();
    let model = load::frozen(gpu, &base, Storage::AsStored, |_, _| ()).expect("the base");
    let adapters = paths.iter().zip(["a", "b"]).map(|(path, name)| {
        let adapted = load::beside(&model, &base, path).expect("adapters beside their base");
        (name.to_string(), adapted)
    });
    let adapters = adapters.collect();
    let mut engine = Engine::new(gpu.clone(), model, adapters, Settings::default()).expect("an engine");
    let vocabulary = engine.model().config().vocabulary;
    let text = prompt(PAGE + 9, 2, vocabulary);
    let drawn = Sampling { temperature: 0.7, seed: 4, ..Sampling::default() };
    // Twice, so that pages are known the second time.
    for round in 0..2 {
        let mut asked = Vec::new();
        for (index, name) in [None, Some("a"), Some("b"), Some("a"), None].into_iter().enumerate() {
            let sampling = if index > 2 { drawn } else { greedy() };
            let (mut request, heard) = request(&text, 8, sampling, usize::MAX);
            request.adapter = name.map(str::to_string);
            engine.submit(request).expect("room");
            asked.push((name, sampling, heard));
        }
        run_all(&mut engine);
        let mut texts = Vec::new();
        for (name, sampling, heard) in &asked {
            assert_eq!(heard.cached(), round * PAGE, "{name:?}: only what the same adapters computed is known");
            let path = match name {
                None => &base,
                Some("a") => &paths[0],
                Some(_) => &paths[1],
            };
            let whole = interchange::open(path).expect("a model, merged if it is made of adapters");
            let merged = Gpt::from_source(gpu, &*whole).expect("a model");
            assert_eq!(heard.ids(), alone(gpu, &merged, &text, 8, sampling), "{name:?}");
            texts.push(heard.ids());
        }
        assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "they differ: {texts:?}");
    }
    let other = dir.path().join("other");
    place("gpt2", &other);
    let error = load::beside(engine.model(), &other, &paths[0]).map(|_| ()).expect_err("another base");
    assert!(error.to_string().contains("with"), "{error}");
}
