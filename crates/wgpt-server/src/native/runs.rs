//! `/wgpt/runs`: training runs in progress and finished ones, read from their folders.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    problem::{Problem, ok},
};
use wgpt::{
    Result,
    io::{checkpoint::Checkpoint, metrics},
};

/// A run whose log has not grown for this long is no longer running.
const ALIVE: Duration = Duration::from_secs(60);

/// Number of bytes at the end of a log that are read for a run's status.
const END: u64 = 1 << 16;

/// Maximum number of log lines sent. A longer log is thinned evenly, but all validations are kept.
const LINES: usize = 4000;

/// Every run in the folder.
///
/// # Errors
/// 500 if it cannot be read.
pub async fn list(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let runs = App::aside(move || {
        // A folder that does not exist yet holds no runs.
        let entries = std::fs::read_dir(&app.runs).into_iter().flatten().flatten();
        let mut runs: Vec<_> = entries.filter_map(|entry| about(&entry.path())).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run["changed"].as_u64()));
        Ok(Value::Array(runs))
    });
    Ok(ok(&runs.await?))
}

/// The log of one run from step `since` on, and the texts that its model wrote.
///
/// # Errors
/// 404 if it is not a run.
pub async fn one(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| Problem::bad("the run's name is not UTF-8"))?;
    let query = request.uri().query().unwrap_or("");
    let since = query.split('&').find_map(|pair| pair.strip_prefix("since=")?.parse::<u64>().ok()).unwrap_or(0);
    let value = App::aside(move || {
        let folder = find(&app.runs, &name).ok_or_else(|| Problem::missing("no such run"))?;
        let (metrics, samples) = thinned(&folder.join("metrics.jsonl"), since)?;
        Ok(json!({ "metrics": metrics, "samples": samples }))
    });
    Ok(ok(&value.await?))
}

/// The folder of a run, which must be a direct child of `runs`, whatever the name contains.
fn find(runs: &FilePath, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0', ':']);
    let folder = plain.then(|| runs.join(name))?;
    // A symbolic link that leads out of the folder is not a run.
    let (whole, parent) = (folder.canonicalize().ok()?, runs.canonicalize().ok()?);
    (whole.parent() == Some(&parent) && whole.join("metrics.jsonl").is_file()).then_some(whole)
}

/// The entry of a run in the list.
fn about(folder: &FilePath) -> Option<Value> {
    let name = folder.file_name()?.to_str()?;
    let folder = find(folder.parent()?, name)?;
    let log = folder.join("metrics.jsonl");
    let changed = log.metadata().ok()?.modified().ok()?;
    let running = SystemTime::now().duration_since(changed).is_ok_and(|since| since < ALIVE);
    let lines = end(&log)?;
    let mut last: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, number) in lines.iter().filter_map(Value::as_object).flatten() {
        if let Some(number) = number.as_f64().filter(|_| name != "step") {
            last.insert(name, number);
        }
    }
    let steps = steps(&folder);
    let step = lines.iter().filter_map(|line| line["step"].as_u64()).max().map(|step| step + 1);
    let stage = lines.iter().rev().find_map(|line| line["stage"].as_str());
    let done = step.zip(steps).is_some_and(|(step, steps)| step >= steps);
    Some(json!({
        "name": name, "stage": stage, "step": step, "steps": steps, "running": running && !done,
        "changed": changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64), "last": last,
    }))
}

/// The lines at the end of a log.
fn end(log: &FilePath) -> Option<Vec<Value>> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    let start = length.saturating_sub(END);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes).ok()?;
    // The first line may be incomplete, and the last one may still be being written.
    Some(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The total number of steps of a run, from its newest checkpoint.
fn steps(folder: &FilePath) -> Option<u64> {
    let settings = Checkpoint::open(folder).ok()?.state().ok()?["settings"].take();
    ["steps", "schedule"].iter().find_map(|name| settings[name].as_u64().or_else(|| settings[name]["steps"].as_u64()))
}

/// The lines of a log from step `since` on, thinned to as many as are needed for a chart, and those with samples. Only these are
/// in memory, however long the log is.
fn thinned(log: &FilePath, since: u64) -> Result<(Vec<Value>, Vec<Value>)> {
    let late = |line: &Value| line["step"].as_u64().is_none_or(|step| step >= since);
    let is_sample = |line: &Value| line["sample"].is_string();
    let mut count = 0_usize;
    metrics::each(log, |_, line| count += usize::from(late(&line) && !is_sample(&line)))?;
    let every = count.div_ceil(LINES).max(1);
    let (mut index, mut kept, mut samples) = (0, Vec::new(), Vec::new());
    metrics::each(log, |_, line| {
        if !late(&line) {
            return;
        }
        if is_sample(&line) {
            samples.push(line);
            return;
        }
        let matters = line["val_loss"].is_number() || line["stopped_because"].is_string();
        index += 1;
        if (index - 1) % every == 0 || index >= count || matters {
            kept.push(line);
        }
    })?;
    Ok((kept, samples))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn runs_are_direct_children_of_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        for folder in [runs.join("one"), dir.path().join("outside"), runs.join("empty")] {
            fs::create_dir_all(folder).unwrap();
        }
        let line = |step: u64| format!("{{\"stage\":\"sft\",\"step\":{step},\"train_loss\":{step}.5}}\n");
        let log: String = (0..5).map(line).collect();
        fs::write(runs.join("one/metrics.jsonl"), format!("{log}{{\"step\":4,\"val_loss\":0.25}}\n{{\"cut")).unwrap();
        fs::write(dir.path().join("outside/metrics.jsonl"), &log).unwrap();
        let told = about(&runs.join("one")).unwrap();
        assert_eq!((&told["stage"], &told["step"], &told["running"]), (&json!("sft"), &json!(5), &json!(true)));
        assert_eq!(told["last"], json!({"train_loss": 4.5, "val_loss": 0.25}));
        for name in ["..", "../outside", "/etc", "", ".", "empty", "one/..", "one\0", "..\\outside", "none"] {
            assert_eq!(find(&runs, name), None, "{name:?}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path().join("outside"), runs.join("link")).unwrap();
            assert_eq!(find(&runs, "link"), None);
        }
        assert!(find(&runs, "one").is_some());
    }

    #[test]
    fn long_logs_are_thinned() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("metrics.jsonl");
        let mut lines: Vec<_> = (0..10_000).map(|step| json!({ "step": step })).collect();
        let validation = json!({"step": 7, "val_loss": 1.0});
        lines.insert(8, validation.clone());
        lines.insert(9, json!({"step": 7, "sample": "To be"}));
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&log, text).unwrap();
        let (kept, samples) = thinned(&log, 0).unwrap();
        assert!(kept.len() <= LINES && kept.contains(&validation) && kept.last() == lines.last());
        assert_eq!(samples, [json!({"step": 7, "sample": "To be"})]);
        let (kept, samples) = thinned(&log, 9_990).unwrap();
        assert_eq!((kept, samples.len()), (lines[lines.len() - 10..].to_vec(), 0));
    }
}
