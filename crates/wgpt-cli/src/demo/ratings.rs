//! The source of the ratings: the shipped ones and others derived from them, or the person at the terminal.

use super::{
    super::rate,
    stages::DemoRun,
    texts::{Preference, asking},
};
use wgpt::{Error, Result, infer::sampler::Sampling, io::atomic};
use wgpt_server::feedback::{Store, import};

/// The random stream of the answers that are rated.
const STREAM: u64 = u64::from_le_bytes(*b"demo rat");

/// The shipped ratings, or those of an `earlier` stage, extended by ratings of new models' answers: where a model's
/// answer differs from the preferred shipped answer, the shipped one is preferred. `policies` are the stages of these
/// models.
pub(super) async fn shipped(
    story: &DemoRun<'_>,
    (stage, earlier): (&str, Option<&str>),
    policies: &[&str],
) -> Result<Store> {
    let of = |stage: &str| story.path(&format!("{stage}-ratings.jsonl"));
    let path = of(stage);
    let mut lines: String = match earlier.map(of) {
        None => story.preferences().iter().map(Preference::line).collect(),
        Some(earlier) => std::fs::read_to_string(&earlier).map_err(Error::io(&earlier, "read"))?,
    };
    for policy in policies {
        let said = story.draw(policy, &story.prompts(), STREAM).await?;
        let others = story.preferences().iter().zip(&said).filter_map(|(preference, answer)| other(preference, answer));
        let others: Vec<String> = others.collect();
        let (count, of) = (others.len(), said.len());
        story.shared.say(format_args!("{count} of {of} answers after {policy} are not what people said"));
        lines.extend(others);
    }
    atomic::write(&path, lines.as_bytes())?;
    Ok(import::in_memory(&path, |_| ())?.0)
}

/// A rating of the model's answer against the preferred one, if they differ.
fn other(Preference { prompt, chosen, .. }: &Preference, answer: &str) -> Option<String> {
    let answer = answer.trim();
    let differs = !answer.is_empty() && answer != chosen;
    differs.then(|| {
        let (prompt, chosen, rejected) = (prompt.clone(), chosen.clone(), answer.to_string());
        Preference { prompt, chosen, rejected }.line()
    })
}

/// Asks the person at the terminal for ratings, and stores them together with those of the previous round.
pub(super) async fn ask(story: &DemoRun<'_>, stage: &str, policy: &str, pairs: usize) -> Result<Store> {
    let prompts = story.path(&format!("{stage}-prompts.jsonl"));
    let database = story.path("feedback.sqlite");
    // Each round uses a different part of the prompts.
    let first = if policy == "sft" { 0 } else { pairs };
    let all = story.prompts();
    atomic::write(&prompts, asking(all.iter().cycle().skip(first).take(pairs)).as_bytes())?;
    let sampling = Sampling { temperature: story.recipe.temperature, seed: first as u64, ..Sampling::default() };
    let (folder, most) = (story.folder(policy), story.recipe.max_tokens);
    rate::of_two(story.shared, story.gpu, &folder, &prompts, &database, sampling, most).await?;
    let store = Store::open(&database)?;
    match store.count()? {
        0 => Err(Error::Usage("--rate: nothing was rated; rate some answers, or leave --rate away".to_string())),
        _ => Ok(store),
    }
}
