//! Options of single requests, and what can happen to them: refusals, cancellation, changed scores, failures.

use std::time::Instant;

use wgpt::{
    infer::{
        engine::{
            Engine, Refused, Settings,
            request::{Constraint, Event},
        },
        generate::Finish,
        sampler::{Sampling, top},
        session::Session,
    },
    model::Gpt,
    ops::kv::paged::PAGE,
};

use crate::{
    device::device,
    engine_support::{alone, configs, engine, greedy, prompt, request, run},
};

#[test]
fn refusals_name_their_reason() {
    let device = device();
    let config = &configs()[1];
    let mut engine =
        engine(&device.gpu, config, Settings { waiting: 3, sequences: 2, tokens: 3 * PAGE, ..Settings::default() });
    let mut refuse = |prompt: &[u32], adapter: Option<&str>, words: &str| {
        let (mut request, _) = request(prompt, 5, greedy(), usize::MAX);
        request.adapter = adapter.map(str::to_string);
        match engine.submit(request) {
            Err(Refused::Invalid(error)) => assert!(error.to_string().contains(words), "{error}"),
            other => panic!("{words}: {other:?}"),
        }
    };
    refuse(&[], None, "empty");
    refuse(&[97], None, "token 97");
    refuse(&prompt(160, 1, 97), None, "context 160");
    refuse(&prompt(3 * PAGE + 1, 1, 97), None, "the cache holds 96");
    refuse(&[1], Some("polite"), "no adapters 'polite'; there are: none");
    let kept: Vec<_> = (0..3).map(|_| request(&[1, 2], 2, greedy(), usize::MAX)).collect();
    let (requests, heard): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
    requests.into_iter().for_each(|request| engine.submit(request).expect("room"));
    let (more, nothing) = request(&[1], 1, greedy(), usize::MAX);
    assert!(matches!(engine.submit(more), Err(Refused::Full)));
    assert!(nothing.last().is_none());
    run(&mut engine);
    heard.iter().for_each(|heard| heard.assert_finish(Finish::Length));
    let (none, heard) = request(&[1], 0, greedy(), usize::MAX);
    engine.submit(none).expect("room");
    heard.assert_finish(Finish::Length);
    assert!(!pollster::block_on(engine.step()).expect("a step"), "nothing is left to do");
}

#[test]
fn cancelled_requests_leave_nothing_behind() {
    let device = device();
    let config = &configs()[1];
    let mut engine = engine(&device.gpu, config, Settings { waiting: 1000, ..Settings::default() });
    let (leaves, left) = request(&prompt(50, 1, 97), 60, greedy(), 3);
    let (stays, stayed) = request(&prompt(20, 2, 97), 12, greedy(), usize::MAX);
    engine.submit(leaves).expect("room");
    engine.submit(stays).expect("room");
    for _ in 0..4 {
        pollster::block_on(engine.step()).expect("a step");
    }
    assert_eq!((left.ids().len(), engine.figures().cancelled, engine.figures().pages_used), (3, 1, 1));
    run(&mut engine);
    assert_eq!(stayed.ids(), alone(&device.gpu, engine.model(), &prompt(20, 2, 97), 12, &greedy()));
    assert!(matches!(left.last(), Some(Event::Token(_))), "nobody is told any more");
    // A thousand requests that come and go, most of them before they are read.
    let start = Instant::now();
    for index in 0..1000 {
        let (goes, _) = request(&prompt(1 + index % 90, index as u32, 97), 30, greedy(), usize::from(index % 50 == 0));
        engine.submit(goes).expect("room");
    }
    run(&mut engine);
    println!("a thousand requests came and went in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!((engine.figures().cancelled, engine.figures().finished), (1001, 1));
}

struct Evens(Vec<u32>);

impl Constraint for Evens {
    fn mask(&mut self, scores: &mut [f32]) {
        scores.iter_mut().skip(1).step_by(2).for_each(|score| *score = f32::NEG_INFINITY);
    }

    fn accept(&mut self, id: u32) {
        assert!(id % 2 == 0);
        self.0.push(id);
    }
}

struct Nothing;

impl Constraint for Nothing {
    fn mask(&mut self, scores: &mut [f32]) {
        scores.fill(f32::NEG_INFINITY);
    }

    fn accept(&mut self, _: u32) {}
}

/// The greedy text with changed scores, computed by the host alone.
fn edited(engine: &Engine, prompt: &[u32], count: usize, edit: impl Fn(&mut [f32], &[u32])) -> Vec<u32> {
    let gpu = device_of(engine);
    let mut session = Session::new(&gpu, engine.model()).expect("a session");
    let (mut next, mut said) = (prompt.to_vec(), Vec::new());
    for _ in 0..count {
        let logits = pollster::block_on(session.advance(&next, |_, _| ())).expect("scores");
        let mut scores = pollster::block_on(logits.to_f32()).expect("a readback");
        edit(&mut scores, &said);
        next = vec![top(&scores, 1, 1.0)[0].id];
        said.extend(&next);
    }
    said
}

fn device_of(engine: &Engine) -> wgpt::gpu::Gpu {
    engine.model().parameters()[0].1.gpu().clone()
}

#[test]
fn scores_are_changed_on_request() {
    let device = device();
    let config = &configs()[1];
    let mut engine = engine(&device.gpu, config, Settings::default());
    let text = prompt(12, 4, 97);
    let ask = |change: &mut dyn FnMut(&mut wgpt::infer::engine::request::Request)| {
        let (mut request, heard) = request(&text, 10, greedy(), usize::MAX);
        change(&mut request);
        (request, heard)
    };
    let plain = alone(&device.gpu, engine.model(), &text, 10, &greedy());
    let common = plain[2];
    let (biased, biased_heard) = ask(&mut |request| request.bias = vec![(common, -100.0), (7, 0.01)]);
    let (varied, varied_heard) =
        ask(&mut |request| (request.presence_penalty, request.frequency_penalty) = (0.02, 0.01));
    let (even, even_heard) = ask(&mut |request| request.constraint = Some(Box::new(Evens(Vec::new()))));
    let (shown, shown_heard) = ask(&mut |request| request.top = 3);
    let (stops, stops_heard) = ask(&mut |request| request.stops = vec![common]);
    let (none, none_heard) = ask(&mut |request| request.constraint = Some(Box::new(Nothing)));
    let drawn = Sampling { temperature: 0.9, seed: 3, ..Sampling::default() };
    let (warm, warm_heard) = ask(&mut |request| (request.sampling, request.top) = (drawn, 5));
    for request in [biased, varied, even, shown, stops, none, warm] {
        engine.submit(request).expect("room");
    }
    run(&mut engine);

    let without = |scores: &mut [f32], _: &[u32]| {
        scores[common as usize] -= 100.0;
        scores[7] += 0.01;
    };
    assert_eq!(biased_heard.ids(), edited(&engine, &text, 10, without));
    assert!(!biased_heard.ids().contains(&common));
    let less = |scores: &mut [f32], said: &[u32]| {
        for (id, score) in scores.iter_mut().enumerate() {
            let times = said.iter().filter(|other| **other == id as u32).count();
            *score -= if times > 0 { 0.02 + 0.01 * times as f32 } else { 0.0 };
        }
    };
    assert_eq!(varied_heard.ids(), edited(&engine, &text, 10, less));
    let evens = |scores: &mut [f32], _: &[u32]| Evens(Vec::new()).mask(scores);
    assert_eq!(even_heard.ids(), edited(&engine, &text, 10, evens));
    let before = plain.iter().position(|id| *id == common).expect("it is there");
    assert_eq!(stops_heard.ids(), plain[..before], "what ends a text is not told");
    stops_heard.assert_finish(Finish::Stop);
    assert!(matches!(none_heard.last(), Some(Event::Failed(reason)) if reason.contains("no token")));
    assert_eq!(warm_heard.ids(), alone(&device.gpu, engine.model(), &text, 10, &drawn), "seeing more changes nothing");

    assert_eq!(shown_heard.ids(), plain);
    let mut session = Session::new(&device.gpu, engine.model()).expect("a session");
    let mut next = text.clone();
    for told in shown_heard.told() {
        let scores =
            pollster::block_on(pollster::block_on(session.advance(&next, |_, _| ())).expect("scores").to_f32())
                .expect("a readback");
        let expected = top(&scores, 3, 1.0);
        assert_eq!((told.top.len(), told.chosen), (3, told.top[0]));
        for (found, expected) in told.top.iter().zip(&expected) {
            assert!(
                found.id == expected.id && (found.logprob - expected.logprob).abs() < 1e-4,
                "{told:?} {expected:?}"
            );
        }
        next = vec![told.chosen.id];
    }
    assert_eq!(engine.figures().failed, 1);
}

#[test]
fn broken_scores_fail_alone() {
    let device = device();
    let config = &configs()[1];
    let model = Gpt::new(&device.gpu, config, 11).expect("a model");
    let (_, table) = model.parameters().iter().find(|(name, _)| name == "embed.weight").expect("the embedding");
    let mut values = pollster::block_on(table.to_f32()).expect("a readback");
    values[5 * config.width] = f32::NAN;
    table.write(&values).expect("written");
    let mut engine = Engine::new(device.gpu.clone(), model, vec![], Settings::default()).expect("an engine");
    let (broken, broken_heard) = request(&[3, 5, 8], 6, greedy(), usize::MAX);
    let (whole, whole_heard) = request(&[3, 6, 8], 6, greedy(), usize::MAX);
    engine.submit(broken).expect("room");
    engine.submit(whole).expect("room");
    run(&mut engine);
    assert!(matches!(broken_heard.last(), Some(Event::Failed(reason)) if reason.contains("not numbers")));
    assert_eq!(whole_heard.ids(), alone(&device.gpu, engine.model(), &[3, 6, 8], 6, &greedy()));
}

#[test]
fn a_text_is_inspected() {
    let device = device();
    for config in configs() {
        let mut engine = engine(&device.gpu, &config, Settings::default());
        for length in [1, 2, 37] {
            let text = prompt(length, 2, config.vocabulary);
            let seen = pollster::block_on(engine.inspect(&text, 4)).expect("an inspection");
            assert_eq!((seen.layers, seen.heads, seen.tokens), (config.layers, config.heads, length));
            assert_eq!(seen.attention.len(), config.layers * config.heads * length * length);
            for (at, row) in seen.attention.chunks_exact(length).enumerate() {
                let (now, later) = row.split_at(at % length + 1);
                assert!((now.iter().sum::<f32>() - 1.0).abs() < 1e-5 && later.iter().all(|weight| *weight == 0.0));
            }
            let mut session = Session::new(&device.gpu, engine.model()).expect("a session");
            for (id, next) in text.iter().zip(&seen.next) {
                let scores = pollster::block_on(session.advance(&[*id], |_, _| ())).expect("scores");
                let expected = top(&pollster::block_on(scores.to_f32()).expect("a readback"), 4, 1.0);
                assert_eq!(next.len(), 4);
                assert!(next.iter().zip(&expected).all(|(a, b)| a.id == b.id && (a.logprob - b.logprob).abs() < 1e-4));
            }
        }
        let refuse =
            |result: wgpt::Result<_>| result.map(|_: wgpt::infer::engine::Inspection| ()).expect_err("refused");
        refuse(pollster::block_on(engine.inspect(&[], 1)));
        refuse(pollster::block_on(engine.inspect(&prompt(161, 1, 80), 1)));
        refuse(pollster::block_on(engine.inspect(&[1, 4000], 1)));
        let vectors = pollster::block_on(engine.embed(&[vec![1, 2], vec![3]])).expect("vectors");
        assert!(vectors.iter().all(|vector| (vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5));
        assert!(pollster::block_on(engine.embed(&[vec![]])).is_err());
    }
}
