//! Continues many texts at once, from prompts of different lengths.

use super::{explain::explained_by_any, sampler::Sampling};
use crate::{
    Error, Result,
    gpu::Gpu,
    model::{Gpt, cache::Cache, gpt::Pass},
    ops::{
        embedding::Tokens,
        gather::{RowIndex, gather},
    },
    random,
    tape::Tape,
};

/// First random stream of episodes.
const STREAM: u64 = u64::from_le_bytes(*b"episodes");

/// A text to continue.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The text so far: at least one token.
    pub prompt: &'a [u32],
    /// A number that identifies the text. Its draw number t is keyed by (seed, episode, t), so it does not depend on
    /// which other texts run beside it.
    pub episode: u64,
}

/// How much to generate.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Maximum number of tokens of an answer.
    pub count: usize,
    /// Tokens that end an answer, from [`Limits::earliest`] on.
    pub stops: &'a [u32],
    /// The index in an answer from which stops count (lm-human-preferences: 16).
    pub earliest: usize,
    /// Prompts are padded to at least this many tokens, so that equal batches keep equal shapes.
    pub width: usize,
}

/// The continuation of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The new tokens, including the one that ended the answer.
    pub tokens: Vec<u32>,
    /// Their log-probabilities at the sampling temperature (at 1 if that is 0), one per token.
    pub logprobs: Vec<f32>,
    /// Whether a stop token ended it.
    pub stopped: bool,
}

/// Continues all `requests` together: prompts are padded on the left, a step computes one token of each, and 8 bytes per
/// row come to the host per step. An answer that has ended continues as padding until the last one ends.
///
/// Log-probabilities are those of the whole distribution at the temperature; if they must equal those of training,
/// `sampling` must not cut anything off. `progress` is called with the number of tokens generated so far for each text.
///
/// # Errors
/// [`Error::Usage`] for an empty prompt or one that leaves no room for `count` tokens, [`Error::NotNumbers`] when
/// scores are not numbers, and the driver's errors.
pub async fn continue_all(
    gpu: &Gpu,
    model: &Gpt,
    requests: &[Request<'_>],
    limits: Limits<'_>,
    sampling: &Sampling,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Answer>> {
    sampling.validate()?;
    let rows = requests.len();
    let mut answers = vec![Answer::default(); rows];
    let longest = requests.iter().map(|request| request.prompt.len()).max().unwrap_or(0).max(limits.width);
    if rows == 0 || limits.count == 0 {
        return Ok(answers);
    }
    let context = model.config().context;
    // The model never reads the last token.
    if longest + limits.count > context + 1 {
        let reason = format!("a prompt of {longest} tokens and {} new ones do not fit {context}", limits.count);
        return Err(Error::Usage(format!("{reason}: give shorter prompts or fewer tokens")));
    }
    if let Some(empty) = requests.iter().position(|request| request.prompt.is_empty()) {
        return Err(Error::Usage(format!("prompt {} is empty: give at least one token to continue", empty + 1)));
    }
    let starts: Vec<u32> = requests.iter().map(|request| (longest - request.prompt.len()) as u32).collect();
    let mut cache = Cache::new(gpu, model.config(), rows, longest + limits.count)?;
    cache.begin_at(&starts)?;
    let padded = |request: &Request<'_>| {
        std::iter::repeat_n(0, longest - request.prompt.len()).chain(request.prompt.iter().copied()).collect::<Vec<_>>()
    };
    let mut next: Vec<u32> = requests.iter().flat_map(padded).collect();
    let tape = Tape::off(gpu);
    for done in 0..limits.count {
        let new = next.len() / rows;
        let tokens = Tokens::new(gpu, &next, rows, new, false)?;
        let mut hidden = model.forward(&tape, &tokens, Pass::default(), Some(&mut cache))?;
        if new > 1 {
            let last: Vec<u32> = (1..=rows).map(|row| (row * new - 1) as u32).collect();
            hidden = gather(&tape, &hidden, &RowIndex::new(gpu, &last, false)?)?;
        }
        let hidden = hidden.reshape(&[rows, model.config().width])?;
        let logits = model.logits(&tape, &hidden)?;
        let keys: Vec<u32> = requests.iter().map(|request| key(sampling.seed, request.episode, done as u64)).collect();
        let read = |(request, answer): (&Request<'_>, &Answer)| [request.prompt, &answer.tokens].concat();
        let texts: Vec<Vec<u32>> = match sampling.repetition_penalty == 1.0 {
            true => vec![Vec::new(); rows],
            false => requests.iter().zip(&answers).map(read).collect(),
        };
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let chosen = match sampling.choose(&logits, &texts, &keys).await {
            Ok(chosen) => chosen,
            Err(error) => {
                let text = |(request, answer): (&Request<'_>, &Answer)| [request.prompt, &answer.tokens].concat();
                return Err(explained_by_any(gpu, model, requests.iter().zip(&answers).map(text), error).await);
            }
        };
        for (answer, chosen) in answers.iter_mut().zip(&chosen).filter(|(answer, _)| !answer.stopped) {
            answer.tokens.push(chosen.id);
            answer.logprobs.push(chosen.logprob);
            answer.stopped = done >= limits.earliest && limits.stops.contains(&chosen.id);
        }
        progress(done + 1);
        if answers.iter().all(|answer| answer.stopped) {
            break;
        }
        next = chosen.iter().map(|chosen| chosen.id).collect();
    }
    Ok(answers)
}

/// The random key of draw number `position` of an episode.
fn key(seed: u64, episode: u64, position: u64) -> u32 {
    random::bits(seed, STREAM.wrapping_add(episode), position) as u32
}
