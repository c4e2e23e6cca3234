//! Helpers for engine tests: requests whose events are kept, running an engine until it is done,
//! and generating a text alone.

use std::sync::{Arc, Mutex};

use wgpt::{
    gpu::Gpu,
    infer::{
        engine::{
            Engine, Settings,
            request::{Event, Request, TokenEvent},
        },
        generate::{Finish, Limits, generate},
        sampler::Sampling,
        session::Session,
    },
    model::{Config, Gpt},
};

/// The events that a request has received.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<Event>>>);

impl Heard {
    /// All token events so far.
    pub fn told(&self) -> Vec<TokenEvent> {
        let token = |event: &Event| if let Event::Token(told) = event { Some(told.clone()) } else { None };
        self.0.lock().expect("events").iter().filter_map(token).collect()
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<u32> {
        self.told().iter().map(|told| told.chosen.id).collect()
    }

    /// How many of the prompt's tokens were in the cache.
    pub fn cached(&self) -> usize {
        let started = |event: &Event| if let Event::Started { cached } = event { Some(*cached) } else { None };
        let found: Vec<usize> = self.0.lock().expect("events").iter().filter_map(started).collect();
        assert_eq!(found.len(), 1, "a request starts once");
        found[0]
    }

    /// The last event.
    pub fn last(&self) -> Option<Event> {
        self.0.lock().expect("events").last().cloned()
    }

    /// Panics unless the request ended in this way.
    pub fn assert_finish(&self, finish: Finish) {
        assert!(matches!(self.last(), Some(Event::Finished(found)) if found == finish), "{:?}", self.last());
    }
}

/// A plain request, which cancels after `patience` tokens.
pub fn request(prompt: &[u32], count: usize, sampling: Sampling, patience: usize) -> (Request, Heard) {
    let heard = Heard::default();
    let (kept, mut left) = (heard.clone(), patience);
    let listener = move |event: Event| {
        left -= usize::from(matches!(event, Event::Token(_))).min(left);
        kept.0.lock().expect("events").push(event);
        left > 0
    };
    let request = Request { sampling, ..Request::new(prompt.to_vec(), count, listener) };
    (request, heard)
}

/// Takes the likeliest token.
pub fn greedy() -> Sampling {
    Sampling { temperature: 0.0, ..Sampling::default() }
}

/// Small models of both families; with random weights, scores are far from tied.
pub fn configs() -> [Config; 2] {
    [Config::gpt2(89, 160, 2, 4, 32), Config { kv_heads: 2, ..Config::llama(97, 160, 2, 4, 32) }]
}

/// An engine with a random model.
pub fn engine(gpu: &Gpu, config: &Config, settings: Settings) -> Engine {
    Engine::new(gpu.clone(), Gpt::new(gpu, config, 11).expect("a model"), Vec::new(), settings).expect("an engine")
}

/// Steps until there is nothing left to do.
pub fn run(engine: &mut Engine) {
    for _ in 0..5000 {
        if !pollster::block_on(engine.step()).expect("a step") {
            assert_eq!((engine.figures().running, engine.figures().waiting), (0, 0));
            assert_eq!(engine.figures().pages_used, 0, "all pages are free again");
            return;
        }
    }
    panic!("the engine does not come to an end: {:?}", engine.figures());
}

/// A prompt of `length` tokens.
pub fn prompt(length: usize, salt: u32, vocabulary: usize) -> Vec<u32> {
    (0..length as u32).map(|i| (i * i * 5 + i * salt + salt * 3 + 1) % vocabulary as u32).collect()
}

/// What the model generates alone.
pub fn alone(gpu: &Gpu, model: &Gpt, prompt: &[u32], count: usize, sampling: &Sampling) -> Vec<u32> {
    let mut session = Session::new(gpu, model).expect("a session");
    let limits = Limits { count, ..Limits::default() };
    let generated = generate(&mut session, prompt, limits, sampling, |_, _| (), |_| true);
    pollster::block_on(generated).expect("a text").tokens
}
