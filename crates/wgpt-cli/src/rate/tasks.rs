//! The tasks to rate: the prompts named by `--prompts`, and a model's answers to them.

use std::path::{Path, PathBuf};

use super::super::{Shared, output};
use wgpt::{
    Error, Result,
    conversation::Conversation,
    feedback::{Answer, Mistake, Prompt, Refusal, Tally, Task, task},
    infer::sampler::Sampling,
    io::checkpoint,
    text::{DataFile, Layout},
};

/// Attempts per answer to get one that is not empty and differs from the others.
const TRIES: usize = 4;

/// The tasks of `--prompts`.
pub(super) struct Tasks {
    /// In order.
    pub tasks: Vec<Task>,
    /// The records that are not tasks.
    pub mistakes: Tally<Mistake>,
    /// What the numbers of records count, such as "line".
    pub unit: &'static str,
}

/// Reads a data file with a task per record, or a text file with a prompt per line; otherwise the argument itself is the
/// prompt.
pub(super) fn read(prompts: &str) -> Result<Tasks> {
    let path = Path::new(prompts);
    let open = |text: &str| Prompt::text(text).map(|prompt| Task { prompt, answers: Vec::new() });
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    let means_a_file =
        ending.is_some_and(|ending| ["jsonl", "json", "txt", "gz", "parquet"].iter().any(|known| ending == *known));
    let means_a_file = means_a_file && !prompts.contains(char::is_whitespace) || prompts == "-";
    if !means_a_file && !path.exists() {
        let task = open(prompts).map_err(|refusal| Error::Usage(format!("--prompts: {refusal}")))?;
        return Ok(Tasks { tasks: vec![task], mistakes: Tally::default(), unit: "line" });
    }
    let file = DataFile::open(path)?;
    let mut read = Tasks { tasks: Vec::new(), mistakes: Tally::default(), unit: file.layout().unit() };
    let mut add = |number, found: Result<Task, Refusal>| match found {
        Ok(task) => read.tasks.push(task),
        Err(refusal) => read.mistakes.add(refusal.mistake, number, refusal.detail),
    };
    match file.layout() {
        Layout::Text => {
            let text = file.text()?;
            let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
            lines.for_each(|(number, line)| add(number, open(line)));
        }
        _ => file.records(
            |_| (),
            |number, record| {
                add(number, record.map_err(Refusal::from).and_then(|record| task(&record)));
                Ok(())
            },
        )?,
    }
    if read.tasks.is_empty() {
        let reason = "nothing to rate: give records of {\"prompt\": ...}, with \"answers\": [...] where they exist";
        let all: Vec<_> = std::iter::once(reason.to_string()).chain(read.mistakes.lines(read.unit)).collect();
        return Err(Error::data(path, all.join("\n")));
    }
    Ok(read)
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
