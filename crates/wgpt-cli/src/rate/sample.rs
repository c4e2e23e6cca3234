//! Answers to compare, from a model.

use std::path::{Path, PathBuf};

use super::super::{Shared, terminal};
use wgpt::{
    Error, Result,
    conversation::Conversation,
    feedback::{Answer, Prompt},
    infer::sampler::Sampling,
    io::checkpoint,
};

/// Tries per answer to get one that is not empty and differs from the others.
const TRIES: usize = 4;

/// The name that answers of the model at `path` are stored under: the checkpoint, where it is one of several in a run.
pub(super) fn name(path: &Path) -> String {
    checkpoint::resolve(path).unwrap_or_else(|_| PathBuf::from(path)).display().to_string()
}

/// `count` different answers, or fewer where the model keeps repeating itself.
pub(super) async fn answers(
    shared: &Shared,
    conversation: &mut Conversation<'_>,
    prompt: &Prompt,
    model: &str,
    count: usize,
) -> Result<Vec<Answer>> {
    let bar = terminal::bar(count as u64, shared.quiet);
    bar.set_message("answers");
    let mut answers: Vec<Answer> = Vec::new();
    let before = &prompt.messages()[..prompt.messages().len() - 1];
    for _ in 0..count * TRIES {
        // Only the answer is new to the session: the prompt stays in its cache.
        conversation.restart(before.iter().cloned());
        let said = conversation.say(prompt.last(), |_, _| (), |_| true).await?;
        let known = answers.iter().any(|answer| answer.text == said.text);
        if said.text.trim().is_empty() || known {
            if said.sampling.temperature == 0.0 {
                break;
            }
            continue;
        }
        said.notes.iter().for_each(|note| shared.say(format_args!("({note})")));
        answers.push(Answer { text: said.text, model: Some(model.to_string()), sampling: settings(&said.sampling)? });
        bar.set_position(answers.len() as u64);
        if answers.len() == count {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(answers)
}

/// Settings as JSON, by way of text: 0.8 stays 0.8 and does not become what f32 makes of it.
fn settings(sampling: &Sampling) -> Result<Option<serde_json::Value>> {
    let text = serde_json::to_string(sampling).and_then(|text| serde_json::from_str(&text));
    text.map(Some).map_err(Error::json("how tokens are chosen"))
}
