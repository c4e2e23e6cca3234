//! `wgpt generate`

use std::{io::Write, path::PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Shared, terminal};
use crate::{
    Error, Result,
    infer::{
        generate::generate,
        sampler::{Sampling, top},
    },
    text::StreamDecoder,
    train::run,
};

/// Continue a prompt
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wgpt generate --model runs/shakespeare --prompt 'ROMEO:' --max-tokens 200
  wgpt generate --model runs/shakespeare --prompt 'ROMEO:' --temperature 0
  wgpt generate --model runs/shakespeare --prompt 'ROM' --max-tokens 3 --top-logprobs 5")]
pub(crate) struct Arguments {
    /// Checkpoint or run folder, Hugging Face folder, or GGUF file
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Text to continue [default: the beginning of a line]
    #[arg(long, default_value = "\n", allow_hyphen_values = true)]
    prompt: String,
    /// Most tokens to write
    #[arg(long, default_value_t = 200)]
    max_tokens: usize,
    /// 0 takes the best token; higher is wilder
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f32,
    /// Choose among this many best tokens; 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Choose among the best tokens with this much probability
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Show the most likely tokens of every step
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_logprobs: usize,
}

#[derive(Serialize)]
struct Output {
    prompt_tokens: usize,
    tokens: Vec<u32>,
    text: String,
    top: Vec<Vec<Likely>>,
}

#[derive(Serialize)]
struct Likely {
    id: u32,
    token: String,
    logprob: f32,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let sampling = Sampling {
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        top_p: arguments.top_p,
        seed: arguments.seed,
    };
    sampling.validate()?;
    let gpu = shared.open().await?;
    let (model, tokenizer) = run::load(&gpu, &arguments.model)?;
    let prompt = tokenizer.encode_special(&arguments.prompt)?;
    if prompt.is_empty() {
        return Err(Error::Usage("--prompt is empty: give at least one character to continue".to_string()));
    }
    let stop = tokenizer.end_of_text();
    let streams = !shared.json;
    let (mut decoder, mut tops) = (StreamDecoder::default(), Vec::new());
    let show = |text: &str| {
        if streams {
            print!("{text}");
            // A closed pipe shows up at the next print; there is nothing better to do with it here.
            let _ = std::io::stdout().flush();
        }
    };
    show(&arguments.prompt);
    let start = std::time::Instant::now();
    let mut bars = String::new();
    let generated = generate(&gpu, &model, &prompt, arguments.max_tokens, &sampling, |step| {
        if arguments.top_logprobs > 0 {
            let likely = top(step.logits, arguments.top_logprobs);
            let row: Vec<_> = likely
                .iter()
                .map(|c| Likely { id: c.id, token: tokenizer.token_text(c.id), logprob: c.logprob })
                .collect();
            if streams {
                bars += &format!("\n{:?} was chosen from:\n", tokenizer.token_text(step.id));
                for likely in &row {
                    let share = f64::from(likely.logprob).exp();
                    let token = format!("{:?}", likely.token);
                    bars += &format!("{token:>14} {:5.1}% {}\n", share * 100.0, terminal::share(share, 40));
                }
            }
            tops.push(row);
        }
        if Some(step.id) == stop {
            return false;
        }
        show(&decoder.push(&tokenizer, step.id));
        true
    })
    .await?;
    show(&decoder.finish());
    let seconds = start.elapsed().as_secs_f64();
    if streams {
        println!("{bars}");
    }
    let count = generated.tokens.len();
    if generated.full {
        shared.say(format_args!("the context of {} tokens was full: older text was dropped", model.config().context));
    }
    shared.say(format_args!("{count} tokens, {:.1} tokens/s", count as f64 / seconds));
    shared.close(&gpu)?;
    let text = tokenizer.decode(&generated.tokens);
    let output = Output { prompt_tokens: prompt.len(), tokens: generated.tokens, text, top: tops };
    shared.result(&output, String::new)
}
