//! `wgpt best-of`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{
    Shared,
    judges::NamedJudge,
    options::LoadArguments,
    output,
    rounds::{
        answers::{self, AnswerArguments, Drawing, scored},
        gold::Gold,
    },
};
use wgpt::{
    Error, Result,
    error::counted,
    infer::sampler::Sampling,
    interchange::{self, TextCodec},
    io::atomic,
    text::Message,
    train::ppo::prompts::Prompt,
};

/// Draw several answers to each prompt and keep the best: best-of-n, and data for rejection sampling
#[derive(Debug, Args)]
#[command(
    after_help = "A judge scores --samples answers to each prompt. For n of 1, 2, 4 ... the table says how good the best of n
answers is by that judge, and by --gold, a judge that does not choose. Picking the best of n is n times as slow as answering,
and moves the answers' distribution by a KL of ln n - (n-1)/n nats: what PPO reaches at the same KL can be compared with it.
With --out the best answers are written as conversations, for wgpt sft (rejection sampling).

A judge is lexicon, lexicon:FILE, reward:RUN, script:COMMAND, exact, contains, length:CHARACTERS, or pattern:TEXT.

Examples:
  wgpt best-of --model runs/demo/sft --prompts runs/demo/held-out.jsonl --judge reward:runs/demo/reward --gold contains \\
    --max-tokens 32
  wgpt best-of --model model.gguf --prompts questions.jsonl --judge reward:runs/judge --samples 8 --out best.jsonl
  wgpt sft --model runs/talker --data best.jsonl --out runs/better"
)]
pub(crate) struct Arguments {
    /// The chat model: run or checkpoint folder, Hugging Face folder, or GGUF file
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Prompts: JSON lines, a JSON list or a Parquet table
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// The judge that chooses; with reward:RUN,RUN,... several reward models judge together
    #[arg(long, value_name = "JUDGE")]
    judge: String,
    /// How much an answer loses when several reward models disagree about it [default: 0.5]
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    caution: Option<f32>,
    /// A judge of the answers chosen
    #[arg(long, value_name = "JUDGE")]
    gold: Option<String>,
    /// Answers to each prompt
    #[arg(long, default_value_t = 16)]
    samples: usize,
    /// Write the best answer to each prompt to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Answers that are drawn side by side
    #[arg(long, default_value_t = 64)]
    batch: usize,
    #[command(flatten)]
    answers: AnswerArguments,
    /// Random seed
    #[arg(long, default_value_t = 1337)]
    seed: u64,
    #[command(flatten)]
    load: LoadArguments,
}

/// The best of `n` answers.
#[derive(Serialize)]
struct Row {
    n: usize,
    /// KL from the model in nats.
    kl: f64,
    score: Gold,
    #[serde(skip_serializing_if = "Option::is_none")]
    gold: Option<Gold>,
}

#[derive(Serialize)]
struct Output {
    prompts: usize,
    samples: usize,
    out: Option<String>,
    best_of: Vec<Row>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    for (name, count) in [("--samples", arguments.samples), ("--batch", arguments.batch)] {
        if count == 0 {
            return Err(Error::Usage(format!("{name} 0: give at least 1")));
        }
    }
    // All errors in the input are found before a GPU is opened.
    let judge = NamedJudge::read("judge", &arguments.judge, arguments.caution)?;
    let gold = arguments.gold.as_ref().map(|gold| NamedJudge::read("gold", gold, None)).transpose()?;
    let codec = TextCodec::open(&arguments.model)?;
    let context = interchange::open(&arguments.model)?.config().context;
    let width = arguments.answers.prompt_tokens(context)?;
    let prompts = answers::listed(shared, &arguments.prompts, &codec, width, arguments.seed)?;
    [Some(&judge), gold.as_ref()].into_iter().flatten().try_for_each(|judge| judge.suits(&prompts))?;
    let list: Vec<&Prompt> = prompts.list().iter().collect();
    if let Some(folder) =
        arguments.out.as_ref().and_then(|out| out.parent()).filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        return Err(Error::data(folder, "no such folder, so --out cannot be written"));
    }
    let AnswerArguments { temperature, max_tokens, .. } = arguments.answers;
    Sampling { temperature, ..Sampling::default() }.validate()?;
    let gpu = shared.open().await?;
    let (model, codec) = shared.load(&gpu, &arguments.model, &arguments.load)?;
    let (mut judge, mut gold) = (judge.open(&gpu)?, gold.map(|gold| gold.open(&gpu)).transpose()?);
    let bar = output::bar((list.len() * arguments.samples) as u64, shared.quiet);
    // For each prompt, the score and the gold score of every answer, and the best answer so far.
    let mut found: Vec<Vec<(f32, f32)>> = vec![Vec::new(); list.len()];
    let mut best: Vec<Option<(f32, String)>> = vec![None; list.len()];
    let asked: Vec<_> = list.iter().map(|prompt| &*prompt.ids).collect();
    for sample in 0..arguments.samples {
        let drawing = Drawing {
            max_tokens,
            temperature,
            seed: arguments.seed.wrapping_add(sample as u64),
            rows: arguments.batch,
        };
        let before = sample * list.len();
        let answering =
            answers::draw(&gpu, &model, &codec, &asked, drawing, |done| bar.set_position((before + done) as u64));
        let drawn = answering.await?;
        let answers: Vec<_> = drawn.iter().map(|answer| answer.text.trim().to_string()).collect();
        let scores = judge.score(&scored(&list, &answers))?;
        let golds = match &mut gold {
            Some(gold) => gold.score(&scored(&list, &answers))?,
            None => vec![0.0; list.len()],
        };
        for (index, answer) in answers.into_iter().enumerate() {
            let score = scores[index];
            found[index].push((score, golds[index]));
            // What was cut off would teach to stop in the middle of a sentence.
            if drawn[index].ended && best[index].as_ref().is_none_or(|(most, _)| score > *most) {
                best[index] = Some((score, answer));
            }
        }
    }
    bar.finish_and_clear();
    shared.close(&gpu)?;
    if let Some(out) = &arguments.out {
        let line = |(prompt, best): (&&Prompt, &Option<(f32, String)>)| {
            let (_, answer) = best.as_ref()?;
            let answer = answers::as_json(&Message::new("assistant", answer));
            let messages: Vec<_> = prompt.messages.iter().map(answers::as_json).chain([answer]).collect();
            Some(format!("{}\n", json!({ "messages": messages })))
        };
        atomic::write(out, list.iter().zip(&best).filter_map(line).collect::<String>().as_bytes())?;
        let cut = best.iter().filter(|best| best.is_none()).count();
        if cut > 0 {
            let none = counted(cut, "prompt");
            shared.say(format_args!("{none} left out of {}: all answers were cut off", out.display()));
        }
    }
    let doubled = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < arguments.samples);
    let sizes = doubled.chain([arguments.samples]);
    let row = |n: usize| {
        let mean = |of: fn(&(f32, f32)) -> f32| {
            let each: Vec<f64> = found.iter().map(|answers| best_of(answers, of, n)).collect();
            Gold::of(&each, arguments.seed)
        };
        let kl = (n as f64).ln() - (n - 1) as f64 / n as f64;
        let gold = gold.as_ref().and_then(|_| mean(|answer| answer.1));
        Some(Row { n, kl, score: mean(|answer| answer.0)?, gold })
    };
    let output = Output {
        prompts: list.len(),
        samples: arguments.samples,
        out: arguments.out.as_ref().map(|out| out.display().to_string()),
        best_of: sizes.filter_map(row).collect(),
    };
    shared.result(&output, || words(&output))
}

/// The expected value of `of` for the best-scored of `n` answers, from all subsets of `n` of `answers` (Nakano et al. 2021,
/// "WebGPT"): the sum of C(i - 1, n - 1) / C(N, n) times the value of the answer with the i-th lowest score. Answers with the
/// same score share their mean.
fn best_of(answers: &[(f32, f32)], of: fn(&(f32, f32)) -> f32, n: usize) -> f64 {
    let mut sorted = answers.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut values = Vec::with_capacity(sorted.len());
    for same in sorted.chunk_by(|a, b| a.0 == b.0) {
        let mean = same.iter().map(|answer| f64::from(of(answer))).sum::<f64>() / same.len() as f64;
        values.extend(std::iter::repeat_n(mean, same.len()));
    }
    // The share of subsets in which the i-th lowest (from 1) is the best: of the highest n / N, then each lower one's from it by
    // C(i - 2, n - 1) / C(i - 1, n - 1) = (i - n) / (i - 1).
    let mut share = n as f64 / values.len() as f64;
    let mut sum = 0.0;
    for (index, value) in values.iter().enumerate().rev() {
        let i = index + 1;
        sum += share * value;
        share *= i.saturating_sub(n) as f64 / index.max(1) as f64;
    }
    sum
}

fn words(output: &Output) -> String {
    let gold = if output.best_of.iter().any(|row| row.gold.is_some()) { "gold score" } else { "" };
    let mut lines = vec![format!("   n       KL  {:<27}{gold}", "score").trim_end().to_string()];
    for Row { n, kl, score, gold } in &output.best_of {
        let gold = gold.map_or(String::new(), |gold| gold.plain());
        lines.push(format!("{n:>4}{kl:>9.2}  {:<27}{gold}", score.plain()).trim_end().to_string());
    }
    if let Some(out) = &output.out {
        lines.push(format!("the best of {} to each prompt is in {out}", counted(output.samples, "answer")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::best_of;

    #[test]
    fn the_best_of_n_is_that_of_all_subsets() {
        let answers = [(0.5_f32, 1.0_f32), (-1.0, 4.0), (2.0, 8.0), (0.25, 2.0), (3.0, 0.5)];
        let mut subsets = [(0.0, 0); 6];
        for mask in 1_u32..1 << answers.len() {
            let chosen = (0..answers.len()).filter(|index| mask >> index & 1 == 1).map(|index| answers[index]);
            let best = chosen.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            let (sum, count) = &mut subsets[mask.count_ones() as usize];
            *sum += f64::from(best.1);
            *count += 1;
        }
        for (n, (sum, count)) in subsets.into_iter().enumerate().skip(1) {
            let found = best_of(&answers, |answer| answer.1, n);
            assert!((found - sum / f64::from(count)).abs() < 1e-12, "{n}: {found}");
        }
        // With equal scores, chance decides.
        assert_eq!(best_of(&[(1.0, 0.0), (1.0, 1.0)], |answer| answer.1, 2), 0.5);
    }
}
