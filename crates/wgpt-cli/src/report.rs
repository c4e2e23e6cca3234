//! `wgpt report`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{Shared, demo, rounds};
use wgpt::{
    Error, Result,
    error::counted,
    io::{atomic, checkpoint::Checkpoint, metrics},
    model::{Config, parameters},
    report::{
        against_kl,
        page::{self, Page},
        panels,
    },
};

/// Write the curves and samples of a run as a page, or compare runs
#[derive(Debug, Args)]
#[command(
    after_help = "Several runs of wgpt ppo or wgpt grpo are compared: their score and gold score over the KL, as a picture.

Examples:
  wgpt report runs/shakespeare
  wgpt report runs/shakespeare --out page.html
  wgpt report runs/one runs/several --out comparison.svg"
)]
pub(crate) struct Arguments {
    /// Folder of the run, or folders of the runs to compare
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// File to write [default: report.html in the run's folder; comparison.svg for several]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    match &*arguments.runs {
        [run] => page_of(shared, run, arguments.out.as_deref()),
        runs => compare(shared, runs, arguments.out.as_deref()),
    }
}

/// A picture of several runs.
fn compare(shared: &Shared, runs: &[PathBuf], out: Option<&Path>) -> Result<()> {
    let read = |run: &PathBuf| {
        several_runs(run)?;
        // Runs of the same name in different folders.
        let alike = runs.iter().filter(|other| other.file_name() == run.file_name()).count() > 1;
        let name = run.file_name().filter(|_| !alike).unwrap_or(run.as_os_str());
        Ok((name.to_string_lossy().into_owned(), metrics::read(&run.join("metrics.jsonl"))?))
    };
    let svg = against_kl::draw(&runs.iter().map(read).collect::<Result<Vec<_>>>()?)?;
    let out = out.unwrap_or(Path::new("comparison.svg"));
    atomic::write(out, svg.as_bytes())?;
    let result = json!({ "report": out.display().to_string(), "runs": runs.len() });
    shared.result(&result, || format!("the picture is in {}", out.display()))
}

/// Refuses the folder of a demo or loop, which has several runs in it.
fn several_runs(folder: &Path) -> Result<()> {
    let (kind, stage, report) = if demo::is_demo(folder) {
        ("demo", "ppo", demo::REPORT)
    } else if folder.join(rounds::RECORD).is_file() {
        ("loop", "ppo1", rounds::REPORT)
    } else {
        return Ok(());
    };
    let (name, report) = (folder.display(), folder.join(report));
    let own = match report.is_file() {
        true => format!("its report is {}", report.display()),
        false => "it writes its own report at its end".to_string(),
    };
    let reason = format!("is the folder of a {kind}: {own}; give one of its runs, as in `wgpt report {name}/{stage}`");
    Err(Error::data(folder, reason))
}

/// The page of one run.
fn page_of(shared: &Shared, run: &Path, out: Option<&Path>) -> Result<()> {
    several_runs(run)?;
    let lines = metrics::read(&run.join("metrics.jsonl"))?;
    let curve_svg = panels::of_run(&lines)?;
    let checkpoint = Checkpoint::open(run)?;
    let title = run.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    let val_loss = lines.iter().rev().find_map(|line| line["val_loss"].as_f64());
    let facts = facts(&lines, &checkpoint)?;
    let samples = page::samples(&lines);
    let html = page::html(&Page { title: &title, facts: &facts, curve_svg: &curve_svg, samples: &samples });
    let out = out.map_or_else(|| run.join("report.html"), Path::to_path_buf);
    atomic::write(&out, html.as_bytes())?;
    let key = if panels::reinforces(&lines) { "score" } else { "train_loss" };
    let steps = lines.iter().filter(|line| !line[key].is_null()).count();
    let result = json!({ "report": out.display().to_string(), "steps": steps, "val_loss": val_loss });
    shared.result(&result, || format!("the report is in {}", out.display()))
}

/// The summary: what was trained, the results, and the settings.
fn facts(lines: &[Value], checkpoint: &Checkpoint) -> Result<Vec<(String, String)>> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| facts.push((name.to_string(), value));
    let numbers = |key: &str| lines.iter().filter_map(|line| line[key].as_f64()).collect::<Vec<_>>();
    let losses = numbers("train_loss");
    if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
        add("training loss", format!("{first:.4} → {last:.4} in {}", counted(losses.len(), "step")));
    }
    let (scores, kl) = (numbers("score"), numbers("kl"));
    if let (Some(first), Some(last), Some(kl)) = (scores.first(), scores.last(), kl.last()) {
        add("score", format!("{first:.3} → {last:.3} in {}, KL {kl:.2}", counted(scores.len(), "step")));
    }
    if let Some(best) = numbers("val_loss").into_iter().reduce(f64::min) {
        add("best validation loss", format!("{best:.4}"));
    }
    let mut rates = numbers("tokens_per_second");
    rates.sort_by(f64::total_cmp);
    if let Some(rate) = rates.get(rates.len() / 2) {
        add("tokens per second", format!("{rate:.0} (median)"));
    }
    if let Ok(config) = serde_json::from_value::<Config>(checkpoint.config.clone()) {
        add("parameters", parameters::count(&config).to_string());
    }
    let state = checkpoint.state().unwrap_or_default();
    add("adapter", state["adapter"].as_str().unwrap_or("unknown").replace('-', " "));
    for (name, value) in [("model", &checkpoint.config), ("settings", &state["settings"])] {
        let fields = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_object());
        let words: Vec<_> =
            fields.map(|(name, value)| format!("{name} {}", value.to_string().trim_matches('"'))).collect();
        add(name, words.join(", "));
    }
    Ok(facts)
}
