//! What `--prompts` names.

use std::path::Path;

use wgpt::{
    Error, Result,
    feedback::{Mistake, Prompt, Tally, Task, task},
};

/// Prompts in order, and the lines that are none.
pub(super) type Tasks = (Vec<Task>, Tally<Mistake>);

/// A file with a task as JSON on every line, a text file with a prompt on every line, or else a prompt itself.
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
    // Some programs begin a file with a byte order mark.
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
