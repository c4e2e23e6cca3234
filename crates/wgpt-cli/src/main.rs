//! The command line, one file per subcommand.
//!
//! Progress and messages go to stderr. With `--json` the last line of stdout is one JSON object.

// Both macros panic if the output is closed; see the module `output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod best_of;
mod cache;
mod chat;
mod convert;
mod demo;
mod doctor;
mod dpo;
mod embed;
mod eval;
mod feedback;
mod generate;
mod grpo;
mod hints;
mod info;
mod judges;
mod merge;
mod options;
mod output;
mod plan;
mod plan_ranks;
mod ppo;
mod preferences;
mod pretrain;
mod ranks;
mod rate;
mod recipe;
mod reinforce;
mod report;
mod reward;
mod rounds;
mod serve;
mod sft;
mod shaders;
mod tokenize;
mod training;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use wgpt::{
    Error, Result,
    gpu::{Gpu, Options},
    ops,
};

/// A GPT that learns to talk, on any GPU.
#[derive(Debug, Parser)]
#[command(
    name = "wgpt",
    version,
    about = "A GPT that learns to talk, on any GPU: training and inference with hand-written WGSL kernels on wgpu",
    max_term_width = 100,
    after_help = "Examples:
  wgpt demo                                      the whole story: read, talk, and be rated, in a few minutes
  wgpt doctor                                    what this machine's GPU can do
  wgpt pretrain --data book.txt                  train a small model on a text
  wgpt plan --layers 12 --width 768              memory and time of a training, before it begins
  wgpt generate --model runs/book --prompt 'The' let it write
  wgpt sft --model runs/book --data chats.jsonl  teach it to answer
  wgpt ppo --model runs/book --prompts book.txt --judge lexicon --out runs/happy
                                                 reinforce what a judge likes
  wgpt dpo --model runs/talker --data pairs.jsonl  teach it what people prefer
  wgpt loop --model runs/talker --prompts questions.jsonl --ratings people
                                                 rounds of ratings and reinforcement
  wgpt chat                                      talk with the small model that comes with wgpt
  wgpt chat model.gguf                           talk with a model
  wgpt serve --model model.gguf                  a page to talk on, and OpenAI's endpoints
  wgpt info model.gguf                           what a model is, and whether it fits
  wgpt rate --model model.gguf --prompts FILE    compare its answers
  wgpt reward --model runs/book                  learn what people prefer
  wgpt report runs/book                          curves and samples as a page"
)]
struct Program {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// Options common to all commands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Shared {
    /// GPU adapter by index or by part of its name [default: the fastest kind]
    #[arg(long, global = true, env = "WGPT_ADAPTER", value_name = "NAME|INDEX")]
    adapter: Option<String>,
    /// Print one JSON object as the last line of stdout
    #[arg(long, global = true)]
    json: bool,
    /// Print a table of GPU time per kernel at the end
    #[arg(long, global = true)]
    profile: bool,
    /// Print only results
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Print no result, because another rank does.
    #[arg(skip)]
    silent: bool,
    /// The index among several adapters of the best kind, if --adapter is not given.
    #[arg(skip)]
    nth: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Pretrain(Box<pretrain::Arguments>),
    Plan(Box<plan::Arguments>),
    Sft(Box<sft::Arguments>),
    Ppo(Box<ppo::Arguments>),
    Grpo(Box<grpo::Arguments>),
    Dpo(Box<dpo::Arguments>),
    Loop(Box<rounds::Arguments>),
    BestOf(best_of::Arguments),
    Reward(Box<reward::Arguments>),
    Generate(generate::Arguments),
    Chat(chat::Arguments),
    Serve(Box<serve::Arguments>),
    Embed(embed::Arguments),
    Info(info::Arguments),
    Rate(rate::Arguments),
    Feedback(feedback::Arguments),
    Eval(eval::Arguments),
    Convert(convert::Arguments),
    Merge(merge::Arguments),
    Tokenize(tokenize::Arguments),
    Tokenizer(tokenize::TokenizerArguments),
    Doctor(doctor::Arguments),
    Shaders(shaders::Arguments),
    Report(report::Arguments),
}

/// Parses the arguments, runs the command, and turns an error into one line and an exit status.
fn main() -> ExitCode {
    let Program { shared, command } = Program::parse();
    let outcome = match command {
        Command::Demo(arguments) => pollster::block_on(demo::run(&shared, &arguments)),
        Command::Pretrain(arguments) => pollster::block_on(pretrain::run(&shared, &arguments)),
        Command::Plan(arguments) => pollster::block_on(plan::run(&shared, &arguments)),
        Command::Sft(arguments) => pollster::block_on(sft::run(&shared, &arguments)),
        Command::Ppo(arguments) => pollster::block_on(ppo::run(&shared, &arguments)),
        Command::Grpo(arguments) => pollster::block_on(grpo::run(&shared, &arguments)),
        Command::Dpo(arguments) => pollster::block_on(dpo::run(&shared, &arguments)),
        Command::BestOf(arguments) => pollster::block_on(best_of::run(&shared, &arguments)),
        Command::Loop(arguments) => pollster::block_on(rounds::run(&shared, &arguments)),
        Command::Reward(arguments) => pollster::block_on(reward::run(&shared, &arguments)),
        Command::Generate(arguments) => pollster::block_on(generate::run(&shared, &arguments)),
        Command::Chat(arguments) => pollster::block_on(chat::run(&shared, &arguments)),
        Command::Serve(arguments) => pollster::block_on(serve::run(&shared, &arguments)),
        Command::Embed(arguments) => pollster::block_on(embed::run(&shared, &arguments)),
        Command::Info(arguments) => pollster::block_on(info::run(&shared, &arguments)),
        Command::Rate(arguments) => pollster::block_on(rate::run(&shared, &arguments)),
        Command::Feedback(arguments) => feedback::run(&shared, &arguments),
        Command::Eval(arguments) => pollster::block_on(eval::run(&shared, &arguments)),
        Command::Convert(arguments) => convert::run(&shared, &arguments),
        Command::Merge(arguments) => merge::run(&shared, &arguments),
        Command::Tokenize(arguments) => tokenize::run(&shared, &arguments),
        Command::Tokenizer(arguments) => tokenize::train(&shared, &arguments),
        Command::Doctor(arguments) => pollster::block_on(doctor::run(&shared, &arguments)),
        Command::Shaders(arguments) => pollster::block_on(shaders::run(&shared, &arguments)),
        Command::Report(arguments) => report::run(&shared, &arguments),
    };
    match outcome {
        Ok(()) | Err(Error::Unread) => ExitCode::SUCCESS,
        Err(error) => {
            let words = hints::words(&error);
            if shared.json {
                // The exit status and stderr report the error as well.
                let _ = output::line(serde_json::json!({ "error": words }));
            }
            output::say(format_args!("wgpt: {words}"));
            ExitCode::FAILURE
        }
    }
}

impl Shared {
    /// Opens the requested adapter, and loads what was tuned on it.
    async fn open(&self) -> Result<Gpu> {
        let gpu = self.open_untuned().await?;
        cache::load(&gpu);
        Ok(gpu)
    }

    /// Opens a device of the requested adapter, and says nothing.
    async fn open_device(&self) -> Result<Gpu> {
        let (adapter, compiled) = (self.adapter.clone(), Some(cache::compiled as _));
        let options =
            Options { adapter, compiled, nth: self.nth, own_kernels_only: true, ..Options::from_environment() };
        Gpu::open(&options).await
    }

    /// Opens the requested adapter without tuned choices.
    async fn open_untuned(&self) -> Result<Gpu> {
        let gpu = self.open_device().await?;
        let names = ops::variant_names();
        if let Some(name) = gpu.capabilities().unused.iter().find(|name| !names.contains(&name.as_str())) {
            return Err(Error::Usage(format!(
                "WGPT_WITHOUT_VARIANTS: no variant is named '{name}'; wgpt shaders and wgpt doctor tell the names"
            )));
        }
        if self.profile {
            gpu.start_profile()?;
        }
        self.say(format_args!("adapter: {}", gpu.description()));
        Ok(gpu)
    }

    /// Ends a command that used a GPU: prints the profile, if requested, and stores what the tuner learned.
    fn close(&self, gpu: &Gpu) -> Result<()> {
        cache::save(gpu);
        if self.profile {
            output::talk(output::profile(&gpu.profile_table()?));
        }
        Ok(())
    }

    /// [`Shared::close`] after a run: what the tuner learned is stored even if the run failed, in which case the run's
    /// error is returned.
    fn ended<T>(&self, gpu: &Gpu, outcome: Result<T>) -> Result<T> {
        let closed = self.close(gpu);
        let outcome = outcome?;
        closed.map(|()| outcome)
    }

    /// Prints a message.
    fn say(&self, line: std::fmt::Arguments<'_>) {
        if !self.quiet {
            output::say(line);
        }
    }

    /// Prints the result: JSON for programs, `words` for people.
    fn result(&self, json: &impl serde::Serialize, words: impl FnOnce() -> String) -> Result<()> {
        if self.silent {
            return Ok(());
        }
        if self.json {
            let text = serde_json::to_string(json).map_err(Error::json("the result"))?;
            return output::line(text);
        }
        let words = words();
        if words.is_empty() { Ok(()) } else { output::line(words) }
    }
}
