//! `wgpt generate`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{
    Shared,
    options::{LoadArguments, SamplingArguments},
    output,
};
use wgpt::{
    Error, Result,
    error::counted,
    infer::{
        generate::{Finish, Limits, generate},
        sampler::top,
        session::Session,
    },
    text::StreamDecoder,
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
    /// Maximum number of tokens to write
    #[arg(long, default_value_t = 200)]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    load: LoadArguments,
    /// Show the most likely tokens of every step
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_logprobs: usize,
}

#[derive(Serialize)]
struct Output {
    prompt_tokens: usize,
    tokens: Vec<u32>,
    text: String,
    finish: Finish,
    /// Time until the first token, which is spent reading the prompt.
    prompt_seconds: f64,
    /// Speed after the first token.
    tokens_per_second: f64,
    top: Vec<Vec<LikelyToken>>,
}

#[derive(Serialize)]
struct LikelyToken {
    id: u32,
    token: String,
    logprob: f32,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let sampling = arguments.sampling.sampling()?;
    let gpu = shared.open().await?;
    let (model, codec) = shared.load(&gpu, &arguments.model, &arguments.load)?;
    let (tokenizer, conventions) = (&codec.tokenizer, &codec.conventions);
    let prompt = codec.read(&arguments.prompt)?;
    if prompt.is_empty() {
        return Err(Error::Usage("--prompt is empty: give at least one character to continue".to_string()));
    }
    let streams = !shared.json;
    let (mut decoder, mut tops) = (StreamDecoder::default(), Vec::new());
    let show = |text: &str| if streams { output::write(text) } else { Ok(()) };
    let mut shown = show(&arguments.prompt);
    let mut session = Session::with_precision(&gpu, &model, arguments.load.precision())?;
    let limits = Limits { count: arguments.max_tokens, stops: &conventions.stops, scores: arguments.top_logprobs > 0 };
    let bar = output::bar(prompt.len() as u64, shared.quiet);
    let progress = |done, _| bar.set_position(done as u64);
    let mut bars = String::new();
    let generated = generate(&mut session, &prompt, limits, &sampling, progress, |step| {
        bar.finish_and_clear();
        if arguments.top_logprobs > 0 {
            let likely = top(step.logits, arguments.top_logprobs, 1.0);
            let row: Vec<_> = likely
                .iter()
                .map(|c| LikelyToken { id: c.id, token: tokenizer.token_text(c.id), logprob: c.logprob })
                .collect();
            if streams {
                bars += &format!("\n{:?} was chosen from:\n", tokenizer.token_text(step.chosen.id));
                for likely in &row {
                    let share = f64::from(likely.logprob).exp();
                    let token = format!("{:?}", likely.token);
                    bars += &format!("{token:>14} {:5.1}% {}\n", share * 100.0, output::share(share, 40));
                }
            }
            tops.push(row);
        }
        if shown.is_ok() {
            shown = show(&decoder.push(tokenizer, step.chosen.id));
        }
        shown.is_ok()
    })
    .await?;
    shown = shown.and_then(|()| show(&format!("{}{bars}\n", decoder.finish())));
    if generated.full {
        shared.say(format_args!("the context of {} tokens was full: older text was dropped", model.config().context));
    }
    shared.say(format_args!(
        "{} in {:.2} s ({:.1} tokens/s), {}{}",
        counted(prompt.len(), "prompt token"),
        generated.prompt_seconds,
        prompt.len() as f64 / generated.prompt_seconds.max(1e-9),
        counted(generated.tokens.len(), "token"),
        output::rate(&generated),
    ));
    shared.ended(&gpu, shown)?;
    let text = tokenizer.decode(&generated.tokens);
    let output = Output {
        prompt_tokens: prompt.len(),
        text,
        finish: generated.finish,
        prompt_seconds: generated.prompt_seconds,
        tokens_per_second: generated.rate(),
        tokens: generated.tokens,
        top: tops,
    };
    shared.result(&output, String::new)
}
