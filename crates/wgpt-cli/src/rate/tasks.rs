//! The tasks to rate: the prompts named by `--prompts`, and a model's answers to them.

use std::path::{Path, PathBuf};

use super::super::{Shared, output};
use wgpt::{
    Error, Result,
    conversation::Conversation,
    feedback::{Answer, Mistake, Prompt, Tally, Task, task},
    infer::sampler::Sampling,
    io::checkpoint,
};

/// Attempts per answer to get one that is not empty and differs from the others.
const TRIES: usize = 4;

/// Prompts in order, and the lines that are not prompts.
pub(super) type Tasks = (Vec<Task>, Tally<Mistake>);

/// Reads a file with a JSON task per line, or a text file with a prompt per line; otherwise the argument itself is the
/// prompt.
pub(super) fn read(prompts: &str) -> Result<Tasks> {
    let path = Path::new(prompts);
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    let lists = ending.is_some_and(|ending| ending == "jsonl" || ending == "json");
    let mut mistakes = Tally::default();
    if !lists && !path.is_file() {
        let prompt = Prompt::text(prompts).map_err(|refusal| Error::Usage(format!("--prompts: {refusal}")))?;
        return Ok((vec![Task { prompt, answers: Vec::new() }], mistakes));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    if let (false, Err(error)) = (lists, std::str::from_utf8(&bytes)) {
        let reason = format!("not UTF-8 at byte {}; give a text file or JSONL", error.valid_up_to());
        return Err(Error::data(path, reason));
    }
    let mut tasks = Vec::new();
    // Some programs put a byte order mark at the start of a file.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let read = match lists {
            true => task(line),
            false => {
                let text = String::from_utf8_lossy(line);
                Prompt::text(text.trim_end_matches('\r')).map(|prompt| Task { prompt, answers: Vec::new() })
            }
        };
        match read {
            Ok(task) => tasks.push(task),
            Err(refusal) => mistakes.add(refusal.mistake, index as u64 + 1, refusal.detail),
        }
    }
    if tasks.is_empty() {
        let reason = "nothing to rate: give lines of {\"prompt\": ...}, with \"answers\": [...] where they exist";
        let all: Vec<_> = std::iter::once(reason.to_string()).chain(mistakes.lines("line")).collect();
        return Err(Error::data(path, all.join("\n")));
    }
    Ok((tasks, mistakes))
}

/// The name under which answers of the model at `path` are stored: the checkpoint's, if it is one of several in a run.
pub(super) fn name(path: &Path) -> String {
    checkpoint::resolve(path).unwrap_or_else(|_| PathBuf::from(path)).display().to_string()
}

/// `count` different answers, or fewer if the model keeps repeating itself.
pub(super) async fn answers(
    shared: &Shared,
    conversation: &mut Conversation<'_>,
    prompt: &Prompt,
    model: &str,
    count: usize,
) -> Result<Vec<Answer>> {
    let bar = output::bar(count as u64, shared.quiet);
    bar.set_message("answers");
    let mut answers: Vec<Answer> = Vec::new();
    let before = &prompt.messages()[..prompt.messages().len() - 1];
    for _ in 0..count * TRIES {
        // Only the answer is new to the session; the prompt stays in its cache.
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

/// Settings as JSON. They go through text, so that 0.8 stays 0.8 instead of the f64 nearest to its f32.
fn settings(sampling: &Sampling) -> Result<Option<serde_json::Value>> {
    let text = serde_json::to_string(sampling).and_then(|text| serde_json::from_str(&text));
    text.map(Some).map_err(Error::json("how tokens are chosen"))
}
