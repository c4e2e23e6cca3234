//! `wgpt reward score`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    super::{Shared, options::LoadArguments, output},
    data::unreadable,
};
use wgpt::{
    Result,
    error::counted,
    feedback::{Answered, answered},
    train::reward::RewardModel,
};

/// Score answers with a reward model
#[derive(Debug, Args)]
#[command(
    after_help = "Each line of the data is {\"prompt\": P, \"answer\": A}, {\"prompt\": P, \"answers\": [A, B, C]} or a \
pair with \"chosen\" and \"rejected\". Scores are in the order of the lines, and of the answers in each.

Examples:
  wgpt reward score --model runs/judge --data answers.jsonl
  wgpt reward score --model runs/judge --data answers.jsonl --json > scores.json"
)]
pub(crate) struct Arguments {
    /// Run or checkpoint folder of `wgpt reward`
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Prompts and answers: JSON lines, a JSON list or a Parquet table
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    #[command(flatten)]
    load: LoadArguments,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let path = &arguments.data;
    let Answered { tasks, mistakes, unit } = answered(path)?;
    if !mistakes.is_empty() {
        shared.say(format_args!("{}:\n{}", path.display(), mistakes.lines(unit).join("\n")));
    }
    let gpu = shared.open().await?;
    let bar = output::bar(0, shared.quiet);
    bar.set_message("loading");
    let judge = RewardModel::load(&gpu, &arguments.model, arguments.load.storage()?, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let (mut texts, mut truncated) = (Vec::new(), 0);
    for (line, task) in &tasks {
        for answer in &task.answers {
            let text = judge.reader().read(task.prompt.messages(), &answer.text);
            let text = text.map_err(|(mistake, words)| unreadable(path, unit, *line, mistake, &words))?;
            truncated += usize::from(text.dropped > 0);
            texts.push(text.ids);
        }
    }
    let bar = output::bar(texts.len() as u64, shared.quiet);
    bar.set_message("answers");
    let ids: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let scores = judge.score_tokens(&ids, |done| bar.set_position(done as u64)).await?;
    bar.finish_and_clear();
    shared.close(&gpu)?;
    if truncated > 0 {
        let context = judge.reader().context;
        shared.say(format_args!(
            "{} over {} shortened at the front of the prompt",
            counted(truncated, "text"),
            counted(context, "token")
        ));
    }
    let mut rest = scores.iter();
    let rows: Vec<_> = tasks
        .iter()
        .map(|(line, task)| (line, task, rest.by_ref().take(task.answers.len()).copied().collect::<Vec<f32>>()))
        .collect();
    let row = |(line, _, scores): &(&u64, _, Vec<f32>)| json!({ "line": line, "scores": scores });
    let output = json!({ "answers": rows.iter().map(row).collect::<Vec<_>>(), "truncated": truncated });
    shared.result(&output, || {
        let words = rows.iter().flat_map(|(_, task, scores)| {
            let line = |(answer, score): (&wgpt::feedback::Answer, &f32)| {
                format!("{score:>8.4}  {}", output::beginning(&answer.text, 80))
            };
            task.answers.iter().zip(scores).map(line).collect::<Vec<_>>()
        });
        words.collect::<Vec<_>>().join("\n")
    })
}
