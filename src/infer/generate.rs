//! Generates one sequence token by token, with a cache of keys and values.

use super::{
    explain::explained,
    sampler::{Candidate, Sampling},
    session::Session,
};
use crate::{Error, Result};

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The requested number of tokens was reached.
    #[default]
    Length,
    /// A token that ends texts was chosen.
    Stop,
    /// The caller stopped it.
    Interrupted,
}

/// What was generated.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// The new tokens, without the one that ended the text.
    pub tokens: Vec<u32>,
    /// Their log-probabilities at the sampling temperature.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
    /// Whether the context was full and older tokens were dropped.
    pub full: bool,
    /// Seconds until the first token was chosen, spent on reading the prompt.
    pub prompt_seconds: f64,
    /// Seconds for all tokens after the first.
    pub seconds: f64,
}

impl Generated {
    /// Tokens per second after the first.
    pub fn rate(&self) -> f64 {
        self.tokens.len().saturating_sub(1) as f64 / self.seconds.max(1e-9)
    }
}

/// One generated token.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The token and its log-probability.
    pub chosen: Candidate,
    /// The scores of the whole vocabulary from which it was chosen, if [`Limits::scores`] is set; otherwise empty.
    pub logits: &'a [f32],
}

/// How much to generate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits<'a> {
    /// Maximum number of tokens.
    pub count: usize,
    /// Tokens that end the text.
    pub stops: &'a [u32],
    /// Whether to bring the scores of the whole vocabulary to the host; without them, only eight bytes come per token.
    pub scores: bool,
}

/// Makes `prompt` the session's text and continues it. `each` is called with every token and returns whether to go on;
/// `progress` is called with the number of tokens of a long prompt that have been read, and their total.
///
/// # Errors
/// [`Error::Usage`] for an empty prompt; [`Error::NotNumbers`], with its cause; the driver's errors.
pub async fn generate(
    session: &mut Session<'_>,
    prompt: &[u32],
    limits: Limits<'_>,
    sampling: &Sampling,
    progress: impl FnMut(usize, usize),
    mut each: impl FnMut(Step<'_>) -> bool,
) -> Result<Generated> {
    sampling.validate()?;
    if prompt.is_empty() {
        return Err(Error::Usage("the prompt is empty: give at least one token to continue".to_string()));
    }
    let (start, shifts) = (web_time::Instant::now(), session.shifts());
    let mut generated = Generated::default();
    if limits.count == 0 {
        return Ok(generated);
    }
    let mut logits = session.become_text(prompt, progress).await?;
    loop {
        let scores = limits.scores.then(|| logits.read());
        let key = sampling.key(generated.tokens.len() as u64);
        let chosen = match sampling.choose(&logits, &[session.tokens()], &[key]).await {
            Ok(chosen) => chosen[0],
            Err(error) => return Err(explained(session.gpu, session.model, session.tokens(), error).await),
        };
        let id = chosen.id;
        if generated.tokens.is_empty() {
            generated.prompt_seconds = start.elapsed().as_secs_f64();
        }
        if limits.stops.contains(&id) {
            generated.finish = Finish::Stop;
            break;
        }
        generated.tokens.push(id);
        generated.logprobs.push(chosen.logprob);
        let scores = match scores {
            Some(scores) => scores.numbers().await?,
            None => Vec::new(),
        };
        if !each(Step { chosen, logits: &scores }) {
            generated.finish = Finish::Interrupted;
            break;
        }
        if generated.tokens.len() == limits.count {
            break;
        }
        logits = session.advance(&[id], |_, _| ()).await?;
    }
    generated.seconds = start.elapsed().as_secs_f64() - generated.prompt_seconds;
    generated.full = session.shifts() > shifts;
    Ok(generated)
}
