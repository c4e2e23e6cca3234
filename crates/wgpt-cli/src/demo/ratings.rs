//! The source of the ratings: a judge that knows good answers, or the person at the terminal.

use super::{
    super::rate,
    questions::{Poor, Question},
    stages::{DemoRun, Round},
    texts::{asking, preference},
};
use wgpt::{Error, Result, infer::sampler::Sampling, io::atomic};
use wgpt_server::feedback::{Store, import};

/// Random streams: the answers that are rated, and the poor answers that they are rated against.
const STREAM: u64 = u64::from_le_bytes(*b"demo rat");
const POOR: u64 = u64::from_le_bytes(*b"demo neg");

/// The poor answers that are rated. A model that has never seen a good answer to another question being rejected takes any
/// friendly words for a good answer.
const RATED: Poor = Poor { unfriendly: 0.1, other: 0.8 };

/// The ratings of a round, each of which asks other questions. A good answer is preferred to a poor one and to an answer of
/// the policy that is not acceptable, and an acceptable answer of the policy to a poor one.
pub(super) async fn judged(story: &DemoRun<'_>, round: Round, policy: &str) -> Result<Store> {
    let mut lines = String::new();
    let asked = story.rated(round, story.recipe.rated);
    let said = story.draw(policy, asked.iter().copied(), STREAM).await?;
    let mut poor = 0;
    for (number, (question, answer)) in (0..).zip(asked.iter().zip(&said)) {
        let Question { prompt, answer: good, .. } = question;
        let answer = answer.trim();
        let bad = story.questions.poor(question, RATED, POOR ^ round.index() as u64, number);
        let mut rate = |chosen: &str, rejected: &str| lines += &preference(prompt, chosen, rejected);
        rate(good, &bad);
        if story.questions.accepts(question, answer) {
            rate(answer, &bad);
        } else {
            poor += 1;
            if !answer.is_empty() {
                rate(good, answer);
            }
        }
    }
    story.shared.say(format_args!("{poor} of {} answers after {policy} are not acceptable", said.len()));
    let path = story.path(&format!("{}-ratings.jsonl", round.reward()));
    atomic::write(&path, lines.as_bytes())?;
    Ok(import::in_memory(&path, |_| ())?.0)
}

/// Asks the person at the terminal to rate answers. The store returned holds the ratings of the previous rounds too.
pub(super) async fn ask(story: &DemoRun<'_>, round: Round, policy: &str, pairs: usize) -> Result<Store> {
    let prompts = story.path(&format!("{}-prompts.jsonl", round.reward()));
    let database = story.path("feedback.sqlite");
    atomic::write(&prompts, asking(story.rated(round, pairs)).as_bytes())?;
    let seed = (round.index() * pairs) as u64;
    let sampling = Sampling { temperature: story.recipe.temperature, seed, ..Sampling::default() };
    let (folder, most) = (story.folder(policy), story.recipe.max_tokens);
    let store = rate::of_two(story.shared, story.gpu, &folder, &prompts, &database, sampling, most).await?;
    let none = "--rate: nothing was rated; rate some answers, or leave --rate away";
    store.ok_or_else(|| Error::Usage(none.to_string()))
}
