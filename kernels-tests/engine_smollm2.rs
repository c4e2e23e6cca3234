//! A real model answering many requests at once, and its speed. Needs `WGPT_SMOLLM2`; announces a skip without it.

use std::time::Instant;

use wgpt::{
    gpu::Gpu,
    infer::{
        engine::{Engine, Settings},
        generate::{Limits, generate},
        session::Session,
    },
    model::Gpt,
};

use crate::{
    device::device,
    engine_support::{greedy, prompt, request, run},
    smollm2::model,
};

/// The greedy text and, for each of its tokens, the margin of the best score over the second.
fn alone(gpu: &Gpu, model: &Gpt, prompt: &[u32], count: usize) -> (Vec<u32>, Vec<f32>) {
    let mut session = Session::new(gpu, model).expect("a session");
    let limits = Limits { count, scores: true, ..Limits::default() };
    let (mut margins, sampling) = (Vec::new(), greedy());
    let generated = generate(
        &mut session,
        prompt,
        limits,
        &sampling,
        |_, _| (),
        |step| {
            let best = step.logits[step.chosen.id as usize];
            let others = step.logits.iter().enumerate().filter(|(id, _)| *id != step.chosen.id as usize);
            margins.push(best - others.fold(f32::NEG_INFINITY, |most, (_, score)| most.max(*score)));
            true
        },
    );
    (pollster::block_on(generated).expect("a text").tokens, margins)
}

/// Sixteen prompts of 3 to 78 tokens, from a text with a predictable continuation.
fn prompts(text: &[u32]) -> Vec<Vec<u32>> {
    (0..16).map(|index| text[index * 5..][..3 + index * 5].to_vec()).collect()
}

#[test]
fn sixteen_greedy_texts_are_the_same_as_each_alone() {
    let device = device();
    let Some(model) = model(&device.gpu, wgpt::model::build::Storage::AsStored) else { return };
    let text = crate::smollm2::text();
    let mut engine = Engine::new(device.gpu.clone(), model, Vec::new(), Settings::default()).expect("an engine");
    let count = 12;
    let asked: Vec<_> = prompts(&text)
        .into_iter()
        .map(|prompt| {
            let (request, heard) = request(&prompt, count, greedy(), usize::MAX);
            engine.submit(request).expect("room");
            (prompt, heard)
        })
        .collect();
    let start = Instant::now();
    run(&mut engine);
    println!("sixteen together: {:.1} s, {:?}", start.elapsed().as_secs_f64(), engine.figures());
    let (mut equal, mut near) = (0, f32::INFINITY);
    for (index, (prompt, heard)) in asked.iter().enumerate() {
        let (expected, margins) = alone(&device.gpu, engine.model(), prompt, count);
        let found = heard.ids();
        let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
        // From the first near-tie on, either text is right.
        assert!(
            same == count || margins[same] <= 1e-3,
            "text {index} differs at token {same}, margin {}",
            margins[same]
        );
        equal += usize::from(same == count);
        near = margins.iter().copied().fold(near, f32::min);
    }
    println!("{equal} of 16 texts equal, smallest margin {near}");
}

/// Seconds of processor time that this process has used; NaN if the system does not tell.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    // User and system time, in hundredths of a second.
    fields.get(11..13).map_or(f64::NAN, |times| (times[0] + times[1]) / 100.0)
}

/// Tokens per second with 1, 2, 4, 8 and 16 texts at once:
/// `cargo test --release --test kernels engine_smollm2::throughput -- --ignored --nocapture`.
#[test]
#[ignore = "measures for a minute"]
fn throughput() {
    let device = device();
    let Some(model) = model(&device.gpu, wgpt::model::build::Storage::AsStored) else { return };
    device.gpu.poison(false);
    let vocabulary = model.config().vocabulary;
    let mut engine = Engine::new(device.gpu.clone(), model, Vec::new(), Settings::default()).expect("an engine");
    let mut first = 0.0;
    println!("texts at once | tokens/s in all | against one | processor ms a token");
    for texts in [1usize, 2, 4, 8, 16] {
        let (mut best, mut least) = (0.0f64, f64::INFINITY);
        for _ in 0..3 {
            let steps = 12;
            for index in 0..texts {
                let (request, _) = request(&prompt(4, index as u32, vocabulary), steps + 2, greedy(), usize::MAX);
                engine.submit(request).expect("room");
            }
            // These steps read the prompts and compile kernels.
            for _ in 0..2 {
                pollster::block_on(engine.step()).expect("a step");
            }
            let (start, taken, before) = (Instant::now(), processor(), engine.figures().generated_tokens);
            for _ in 0..steps {
                pollster::block_on(engine.step()).expect("a step");
            }
            let done = engine.figures().generated_tokens - before;
            best = best.max(done as f64 / start.elapsed().as_secs_f64());
            least = least.min((processor() - taken) * 1e3 / done as f64);
            run(&mut engine);
        }
        first = if texts == 1 { best } else { first };
        println!("{texts:13} | {best:15.1} | {:11.2} | {least:20.1}", best / first);
    }
    device.gpu.poison(true);
}
