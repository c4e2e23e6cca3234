//! `wgpt feedback`

use std::path::PathBuf;

use chrono::DateTime;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Shared, output, rate::reply};
use wgpt::{
    Error, Result,
    error::counted,
    feedback::{Stored, Tally},
};
use wgpt_server::feedback::{
    Store,
    export::{Format, export},
    import::{Imported, import},
};

/// Selects the database.
#[derive(Clone, Debug, Args)]
pub(super) struct Database {
    /// Database of ratings
    #[arg(long, default_value = "feedback.sqlite", value_name = "FILE")]
    pub feedback: PathBuf,
}

/// Import, export and inspect ratings of answers
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt feedback import pairs.jsonl hh-rlhf.jsonl
  wgpt feedback export --format pairs --out pairs.jsonl
  wgpt feedback list --limit 5
  wgpt feedback stats --feedback team.sqlite --json

wgpt rate asks people for ratings.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(ImportArguments),
    Export(ExportArguments),
    List(ListArguments),
    Stats(StatsArguments),
}

/// Store the ratings of data files
#[derive(Debug, Args)]
#[command(
    after_help = "A file holds JSON lines, a JSON list or a Parquet table, compressed with gzip or not. Each record is one of
  {\"prompt\": P, \"chosen\": A, \"rejected\": B}                            or several: \"rejected\": [B, C]
  {\"chosen\": \"\\n\\nHuman: ...\\n\\nAssistant: ...\", \"rejected\": ...}        hh-rlhf, with a common prompt
  {\"prompt\": P, \"answer\": A, \"score\": 4}
  {\"prompt\": P, \"answers\": [A, B, C], \"best\": 0}
  {\"prompt\": P, \"completion\": A, \"label\": true}
  a complete rating, as written by wgpt feedback export --format ratings
where P is a text or a list of {\"role\", \"content\"}. \"rater\" and \"time\" (milliseconds since 1970) may be added.
Ratings that are already stored are not stored again. Records with mistakes are left out, counted and explained.

Examples:
  wgpt feedback import pairs.jsonl
  wgpt feedback import hh-rlhf.jsonl --rater anthropic --feedback hh.sqlite"
)]
struct ImportArguments {
    /// Data files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    database: Database,
    /// Rater's name for records without one
    #[arg(long, default_value = "imported", value_name = "NAME")]
    rater: String,
}

/// Write ratings as JSONL
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt feedback export --format pairs --out pairs.jsonl
  wgpt feedback export --format ratings --out everything.jsonl     nothing is lost")]
struct ExportArguments {
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Format to write
    #[arg(long, value_enum, default_value = "pairs")]
    format: Form,
    #[command(flatten)]
    database: Database,
}

/// Show the newest ratings
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt feedback list
  wgpt feedback list --rater anna --limit 100 --json")]
struct ListArguments {
    /// Number of ratings
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
    /// Only ratings by this rater
    #[arg(long, value_name = "NAME")]
    rater: Option<String>,
    #[command(flatten)]
    database: Database,
}

/// Count ratings by kind, rater and model, and measure agreement between raters
#[derive(Debug, Args)]
#[command(
    after_help = "Agreement is the share of equal judgements among the pairs of answers that two raters have both judged.

Examples:
  wgpt feedback stats
  wgpt feedback stats --feedback team.sqlite --json"
)]
struct StatsArguments {
    #[command(flatten)]
    database: Database,
}

/// Export formats; see [`Format`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// {"prompt", "chosen", "rejected"}
    Pairs,
    /// {"prompt", "answer", "score"}
    Scores,
    /// {"prompt", "answers", "best"}
    BestOf,
    /// {"chosen", "rejected"} as transcripts
    HhRlhf,
    /// Complete ratings, with rater, time, models and settings
    Ratings,
}

/// Runs the command.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Import(arguments) => bring_in(shared, arguments),
        Command::Export(arguments) => hand_out(shared, arguments),
        Command::List(arguments) => list(shared, arguments),
        Command::Stats(arguments) => statistics(shared, arguments),
    }
}

fn bring_in(shared: &Shared, ImportArguments { files, database, rater }: &ImportArguments) -> Result<()> {
    // Missing files are reported before anything is stored.
    let size = |file: &PathBuf| std::fs::metadata(file).map(|data| data.len()).map_err(Error::io(file, "read"));
    let sizes = files.iter().map(size).collect::<Result<Vec<_>>>()?;
    let mut store = Store::create(&database.feedback)?;
    let (mut results, mut all) = (Vec::new(), Imported::default());
    for (file, size) in files.iter().zip(sizes) {
        let bar = output::bar(size, shared.quiet);
        bar.set_message("bytes");
        let done = import(&mut store, file, rater, |bytes| bar.set_position(bytes))?;
        bar.finish_and_clear();
        all.records += done.records;
        all.added += done.added;
        all.duplicates += done.duplicates;
        let Imported { records, unit, added, duplicates, mistakes } = &done;
        let counts = format!(
            "{}, {}, {duplicates} known, {}",
            counted(records, unit),
            counted(added, "new rating"),
            counted(mistakes.total(), "mistake")
        );
        shared.say(format_args!("{}: {counts}{}", file.display(), told(mistakes, unit)));
        results.push((file, done));
    }
    let mistakes: u64 = results.iter().map(|(_, done)| done.mistakes.total()).sum();
    let file = |(file, done): &(&PathBuf, Imported)| {
        let Imported { records, unit, added, duplicates, mistakes } = done;
        json!({ "file": file, "lines": records, "unit": unit, "added": added, "duplicates": duplicates, "mistakes": mistakes })
    };
    let output = json!({
        "feedback": database.feedback, "lines": all.records, "added": all.added, "duplicates": all.duplicates,
        "mistakes": mistakes, "files": results.iter().map(file).collect::<Vec<_>>(),
    });
    shared.result(&output, || format!("{} in {}", counted(all.added, "new rating"), database.feedback.display()))
}

/// The reasons in a tally, to print below a line of counts.
fn told<R: Ord + Copy + std::fmt::Display>(tally: &Tally<R>, unit: &str) -> String {
    tally.lines(unit).iter().map(|line| format!("\n{}", output::harmless(line))).collect()
}

fn hand_out(shared: &Shared, ExportArguments { out, format, database }: &ExportArguments) -> Result<()> {
    let format = match format {
        Form::Pairs => Format::Pairs,
        Form::Scores => Format::Scores,
        Form::BestOf => Format::BestOf,
        Form::HhRlhf => Format::HhRlhf,
        Form::Ratings => Format::Ratings,
    };
    let done = export(&Store::open(&database.feedback)?, out, format)?;
    if !done.left_out.is_empty() {
        shared.say(format_args!("left out:{}", told(&done.left_out, "rating")));
    }
    let output = json!({ "out": out, "written": done.written, "left_out": done.left_out });
    shared.result(&output, || format!("{} written to {}", counted(done.written, "line"), out.display()))
}

fn list(shared: &Shared, ListArguments { limit, rater, database }: &ListArguments) -> Result<()> {
    let mut newest = std::collections::VecDeque::new();
    Store::open(&database.feedback)?.each(|stored| {
        let by = stored.rating.as_ref().map(|rating| &rating.rater).ok();
        if rater.is_none() || by == rater.as_ref() {
            newest.push_back(stored);
            if newest.len() > *limit {
                newest.pop_front();
            }
        }
        Ok(())
    })?;
    let object = |Stored { id, stored, rating }: &Stored| match rating {
        Ok(rating) => {
            let mut object = rating.to_json();
            object["id"] = json!(id);
            object["stored"] = json!(stored);
            object
        }
        Err(refusal) => json!({ "id": id, "stored": stored, "damaged": refusal.to_string() }),
    };
    let output = json!({ "ratings": newest.iter().map(object).collect::<Vec<Value>>() });
    shared.result(&output, || match newest.is_empty() {
        true => "no ratings".to_string(),
        false => newest.iter().map(row).collect::<Vec<_>>().join("\n"),
    })
}

fn row(Stored { id, stored, rating }: &Stored) -> String {
    match rating {
        Ok(rating) => {
            let time = i64::try_from(rating.time.unwrap_or(*stored)).ok().and_then(DateTime::from_timestamp_millis);
            let time = time.map_or_else(|| "?".to_string(), |time| time.format("%Y-%m-%d %H:%M").to_string());
            let (who, said) = (output::beginning(&rating.rater, 12), reply::typed(rating.verdict()));
            let prompt = output::beginning(rating.prompt().last(), 56);
            format!("{id:>7}  {time}  {who:<12}  {:<7}  {said:<9}  {prompt}", rating.verdict().kind())
        }
        Err(refusal) => format!("{id:>7}  damaged: {refusal}"),
    }
}

fn statistics(shared: &Shared, StatsArguments { database }: &StatsArguments) -> Result<()> {
    let all = Store::open(&database.feedback)?.statistics()?;
    shared.result(&all, || {
        let mut lines = vec![counted(all.ratings, "rating")];
        if all.damaged > 0 {
            lines.push(format!("{:>7}  damaged", all.damaged));
        }
        lines.extend(all.kinds.iter().map(|(kind, count)| format!("{count:>7}  {kind}")));
        lines.push("by rater".to_string());
        lines.extend(all.raters.iter().map(|(name, count)| format!("{count:>7}  {}", output::beginning(name, 60))));
        lines.push("by model     shown      won     lost     tied   scores     mean".to_string());
        for (name, model) in &all.models {
            let mean = model.mean_score.map_or("-".to_string(), |mean| format!("{mean:.2}"));
            let counts = [model.shown, model.won, model.lost, model.tied, model.scores].map(|n| format!("{n:>9}"));
            lines.push(format!("         {}{mean:>9}  {}", counts.concat(), output::beginning(name, 60)));
        }
        let agreement = &all.agreement;
        lines.push(match agreement.share {
            Some(share) => format!(
                "agreement: {:.1}% of {}, on {} of answers judged by two or more",
                share * 100.0,
                counted(agreement.compared, "comparison"),
                counted(agreement.shared_pairs, "pair")
            ),
            None => "agreement: no pair of answers was judged by two raters yet".to_string(),
        });
        lines.join("\n")
    })
}
