//! Checks that the model that ships with the program gives its known answers: decoding greedily with a cache, with
//! pages, and by reading the whole text again for every token.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use serde::Serialize;

use crate::{
    Error, Result,
    gpu::Gpu,
    infer::{
        engine::{
            Engine, Refused,
            request::{Event, Request},
        },
        generate::{Limits, generate},
        sampler::{Sampling, top},
        session::Session,
    },
    interchange::{TextCodec, load},
    model::{Gpt, build::Storage, gpt::Pass},
    ops::embedding::Tokens,
    tape::Tape,
    text::Message,
};

/// Maximum number of tokens of an answer.
const LONGEST: usize = 40;

/// Questions for weights/talker.gguf, and its answers.
const KNOWN: &[(&str, &str)] = &[
    ("What is the largest ocean?", "The largest ocean in the world is the Pacific Ocean."),
    ("What is the capital of Germany?", "The capital of Germany is Berlin."),
    ("你好", "你好！很高兴见到你。"),
];

const GREEDY: Sampling =
    Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 };

/// An answer compared with the known one.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The question.
    pub prompt: &'static str,
    /// The known answer.
    pub expected: &'static str,
    /// The answer of each way of decoding.
    pub said: Vec<(&'static str, String)>,
    /// Whether all answers are as expected.
    pub pass: bool,
}

/// Asks the model at `talker` all questions.
///
/// # Errors
/// [`Error::Template`] for a model without a chat template, the errors of loading it, and the driver's. Wrong
/// answers are not an error here.
pub async fn ask(gpu: &Gpu, talker: &Path) -> Result<Vec<Answer>> {
    let codec = TextCodec::open(talker)?;
    let template = codec.conventions.talk(&codec.tokenizer)?;
    let template = template.ok_or_else(|| Error::Template(format!("{} has none", talker.display())))?;
    let load = || load::frozen(gpu, talker, Storage::AsStored, |_, _| ());
    let (model, mut engine) = (load()?, Engine::new(gpu.clone(), load()?, Vec::new(), Default::default())?);
    let mut answers = Vec::new();
    for &(prompt, expected) in KNOWN {
        let ids = codec.tokenizer.encode_special(&template.render(&[Message::new("user", prompt)], true)?)?;
        let stops = &codec.conventions.stops;
        let ways = [
            ("cache", over_cache(gpu, &model, &ids, stops).await?),
            ("pages", over_pages(&mut engine, &ids, stops).await?),
            ("whole texts", over_whole_texts(gpu, &model, &ids, stops).await?),
        ];
        let said: Vec<_> = ways.map(|(way, ids)| (way, codec.tokenizer.decode(&ids))).into();
        let pass = said.iter().all(|(_, said)| said == expected);
        answers.push(Answer { prompt, expected, said, pass });
    }
    Ok(answers)
}

async fn over_cache(gpu: &Gpu, model: &Gpt, prompt: &[u32], stops: &[u32]) -> Result<Vec<u32>> {
    let mut session = Session::new(gpu, model)?;
    let limits = Limits { count: LONGEST, stops, scores: false };
    Ok(generate(&mut session, prompt, limits, &GREEDY, |_, _| (), |_| true).await?.tokens)
}

async fn over_pages(engine: &mut Engine, prompt: &[u32], stops: &[u32]) -> Result<Vec<u32>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    let listener = move |event| {
        if let Event::Token(token) = event {
            told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(token.chosen.id);
        }
        true
    };
    let request = Request::new(prompt.to_vec(), LONGEST, listener);
    let request = Request { stops: stops.to_vec(), sampling: GREEDY, ..request };
    engine.submit(request).map_err(Refused::into_error)?;
    while engine.step().await? {}
    let ids = heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
    Ok(ids)
}

async fn over_whole_texts(gpu: &Gpu, model: &Gpt, prompt: &[u32], stops: &[u32]) -> Result<Vec<u32>> {
    let (tape, mut text) = (Tape::off(gpu), prompt.to_vec());
    while text.len() < prompt.len() + LONGEST {
        let tokens = Tokens::new(gpu, &text, 1, text.len(), false)?;
        let hidden = model.forward(&tape, &tokens, Pass::default(), None)?;
        let scores = model.logits(&tape, &hidden.last_row()?)?.to_f32().await?;
        match top(&scores, 1, 1.0).first() {
            Some(best) if !stops.contains(&best.id) => text.push(best.id),
            _ => break,
        }
    }
    Ok(text.split_off(prompt.len()))
}
