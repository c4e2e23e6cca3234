//! Requests that run together give the same answers as each alone, whenever they come, however long they are, whatever
//! pages they share, and even if they have to yield.

use wgpt::{
    infer::{
        engine::{Engine, Settings},
        generate::Finish,
        sampler::Sampling,
    },
    model::Gpt,
    ops::kv::{decode::Precision, paged::PAGE},
};

use crate::{
    device::device,
    engine_support::{Heard, alone, configs, engine, greedy, prompt, request, run},
};

/// Sampling rules that are as different as possible.
fn rule(index: usize) -> Sampling {
    match index % 4 {
        0 => greedy(),
        1 => Sampling { temperature: 0.8, top_k: 20, seed: index as u64, ..Sampling::default() },
        2 => Sampling { temperature: 1.2, top_p: 0.9, repetition_penalty: 1.3, seed: 7, ..Sampling::default() },
        _ => Sampling { temperature: 0.8, top_k: 20, seed: 5, ..Sampling::default() },
    }
}

#[test]
fn sixteen_together_answer_as_each_alone() {
    let device = device();
    for config in configs() {
        let mut engine = engine(&device.gpu, &config, Settings { chunk: 24, ..Settings::default() });
        let mut heard: Vec<(Vec<u32>, usize, Sampling, Heard)> = Vec::new();
        // They come one or two at a time, so that some read, some generate, and some have finished.
        for index in 0..16 {
            let prompt = prompt(1 + index * 11 % 70, index as u32, config.vocabulary);
            let (count, sampling) = (3 + index * 7 % 23, rule(index));
            let (request, kept) = request(&prompt, count, sampling, usize::MAX);
            engine.submit(request).expect("room");
            heard.push((prompt, count, sampling, kept));
            if index % 3 > 0 {
                pollster::block_on(engine.step()).expect("a step");
            }
        }
        assert!(engine.figures().running > 4, "{:?}", engine.figures());
        run(&mut engine);
        let prompts: usize = heard.iter().map(|(prompt, ..)| prompt.len()).sum();
        let all: usize = heard.iter().map(|(_, count, ..)| count).sum();
        let figures = engine.figures();
        assert_eq!((figures.finished, figures.cancelled, figures.failed), (16, 0, 0));
        assert_eq!((figures.prompt_tokens, figures.generated_tokens), (prompts as u64, all as u64));
        for (index, (prompt, count, sampling, kept)) in heard.iter().enumerate() {
            kept.assert_finish(Finish::Length);
            let expected = alone(&device.gpu, engine.model(), prompt, *count, sampling);
            assert_eq!(kept.ids(), expected, "request {index} of {} tokens", prompt.len());
        }
    }
}

#[test]
fn common_beginnings_are_read_once() {
    let device = device();
    let config = &configs()[1];
    for precision in [Precision::Single, Precision::Half] {
        let mut engine = engine(&device.gpu, config, Settings { precision, ..Settings::default() });
        let long = prompt(2 * PAGE + 6, 3, config.vocabulary);
        let mut ask = |prompt: &[u32]| {
            let (request, heard) = request(prompt, 9, greedy(), usize::MAX);
            engine.submit(request).expect("room");
            run(&mut engine);
            heard
        };
        let first = ask(&long);
        let again = ask(&long);
        assert_eq!((first.cached(), again.cached()), (0, 2 * PAGE));
        assert_eq!(first.ids(), again.ids());
        // A conversation continues: the pages of generated tokens are known too.
        let further = [&long[..], &first.ids(), &prompt(30, 9, config.vocabulary)].concat();
        let onwards = ask(&further);
        assert_eq!(onwards.cached(), (long.len() + 8) / PAGE * PAGE);
        let whole = ask(&long[..2 * PAGE]);
        assert_eq!(whole.cached(), PAGE, "the last token is read again, and with it its page");
        if precision == Precision::Single {
            assert_eq!(first.ids(), alone(&device.gpu, engine.model(), &long, 9, &greedy()));
            assert_eq!(onwards.ids(), alone(&device.gpu, engine.model(), &further, 9, &greedy()));
        }
        assert_eq!(engine.figures().cached_tokens as usize, 2 * PAGE + onwards.cached() + PAGE);
    }
}

#[test]
fn the_youngest_yields_and_answers_the_same() {
    let device = device();
    for config in configs() {
        // Five pages for five texts that grow to three pages each.
        let mut engine = engine(&device.gpu, &config, Settings { tokens: 5 * PAGE, ..Settings::default() });
        assert_eq!(engine.window(), 5 * PAGE);
        let texts: Vec<_> = (0..5)
            .map(|index| {
                let (prompt, sampling) = (prompt(17 + index * 5, index as u32, config.vocabulary), rule(index));
                let (request, heard) = request(&prompt, 45, sampling, usize::MAX);
                engine.submit(request).expect("room");
                (prompt, sampling, heard)
            })
            .collect();
        run(&mut engine);
        assert!(engine.figures().preempted > 0, "{:?}", engine.figures());
        for (index, (prompt, sampling, heard)) in texts.iter().enumerate() {
            heard.assert_finish(Finish::Length);
            heard.cached();
            let expected = alone(&device.gpu, engine.model(), prompt, 45, sampling);
            assert_eq!(heard.ids(), expected, "request {index}");
        }
        assert_eq!(engine.figures().generated_tokens, 5 * 45);
    }
}

/// The pools double as they fill, and their contents are kept.
#[test]
fn texts_end_where_the_window_ends_and_memory_grows_on_the_way() {
    let device = device();
    for config in configs() {
        // More tokens at once than fit in one row of the model's context.
        let mut engine = engine(&device.gpu, &config, Settings::default());
        let texts: Vec<_> = (0..9)
            .map(|index| {
                let prompt = prompt(140 + index, index as u32, config.vocabulary);
                let (request, heard) = request(&prompt, 1000, greedy(), usize::MAX);
                engine.submit(request).expect("room");
                (prompt, heard)
            })
            .collect();
        run(&mut engine);
        for (prompt, heard) in &texts {
            heard.assert_finish(Finish::Length);
            let count = config.context + 1 - prompt.len();
            assert_eq!(heard.ids(), alone(&device.gpu, engine.model(), prompt, count, &greedy()));
        }
    }
}

#[test]
fn settings_with_which_nothing_can_run_are_refused() {
    let device = device();
    let config = &configs()[0];
    let model = || Gpt::new(&device.gpu, config, 1).expect("a model");
    let says = |adapters, settings, words: &str| {
        let error =
            Engine::new(device.gpu.clone(), model(), adapters, settings).map(|_| ()).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    let settings = Settings::default();
    says(vec![], Settings { sequences: 0, ..settings }, "0 sequences");
    says(vec![], Settings { tokens: PAGE - 1, ..settings }, "31 tokens in the cache");
    says(vec![("a".into(), model()), ("a".into(), model())], settings, "'a': give every one a name of its own");
    let other = Gpt::new(&device.gpu, &configs()[1], 1).expect("a model");
    says(vec![("a".into(), other)], settings, "another model");
}
