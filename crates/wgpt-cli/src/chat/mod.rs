//! `wgpt chat`

mod command;

use std::{
    io::{BufRead, IsTerminal},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;
use serde::Serialize;

use self::command::Command;
use super::{
    Shared, cache,
    options::{LoadArguments, SamplingArguments, TemplateArgument},
    output,
};
use wgpt::{
    Result,
    conversation::{Answer, Conversation},
    error::counted,
    infer::{generate::Finish, session::Session},
    text::Message,
};
use wgpt_server::signals;

/// Talk with a model
#[derive(Debug, Args)]
#[command(after_help = "While talking:
  /temperature X   sampling temperature of the next answers
  /system TEXT     set the system message, and start over
  /reset           start over
  /tokens          the last exchange, token by token
  /why [N]         what the N-th token of the last answer was chosen from
  /help, /quit     Ctrl-C ends an answer

Examples:
  wgpt chat
  wgpt chat model.gguf
  wgpt chat model.gguf --system 'You are terse.' --temperature 0.3
  wgpt chat model.gguf --prompt 'Why is the sky blue?' --json")]
pub(crate) struct Arguments {
    /// GGUF file, Hugging Face folder, checkpoint or run folder [default: the small model that comes with the program]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// System message with instructions
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Send this message, print the answer, and exit
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Maximum number of tokens in an answer
    #[arg(long, default_value_t = 512)]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    template: TemplateArgument,
}

#[derive(Serialize)]
struct Line<'a> {
    role: &'static str,
    content: &'a str,
    tokens: usize,
    prompt_tokens: usize,
    seconds: f64,
    tokens_per_second: f64,
    finish: Finish,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let sampling = arguments.sampling.sampling()?;
    let path = cache::or_talker(arguments.model.as_ref())?;
    let gpu = shared.open().await?;
    let (model, mut codec) = shared.load(&gpu, &path, &arguments.load)?;
    arguments.template.apply(&mut codec)?;
    let system = arguments.system.as_ref().map(|text| Message::new("system", text));
    let session = Session::with_precision(&gpu, &model, arguments.load.precision())?;
    let mut conversation = Conversation::new(session, &codec, sampling, arguments.max_tokens)?;
    conversation.restart(system);
    if let Some(warning) = conversation.warning() {
        shared.say(format_args!("{warning}"));
    }

    let stop = Arc::new(AtomicBool::new(false));
    let (asked, answering) = (stop.clone(), Arc::new(AtomicBool::new(false)));
    let busy = answering.clone();
    signals::hear(move || {
        if !busy.load(Ordering::Relaxed) || asked.swap(true, Ordering::Relaxed) {
            std::process::exit(signals::INTERRUPTED);
        }
    });

    let input = std::io::stdin();
    let asks = input.is_terminal() && arguments.prompt.is_none() && !shared.json;
    if asks {
        shared.say(format_args!("say something; /help lists commands, /quit ends"));
    }
    let mut last: Option<Answer> = None;
    let mut lines = input.lock().lines();
    loop {
        if asks {
            output::write("> ")?;
        }
        let said = match &arguments.prompt {
            Some(prompt) if last.is_none() => prompt.clone(),
            Some(_) => break,
            None => match lines.next() {
                Some(Ok(line)) => line,
                Some(Err(error)) => {
                    return Err(wgpt::Error::Usage(format!("what you typed is not UTF-8 text: {error}")));
                }
                None => break,
            },
        };
        match Command::parse(&said) {
            Ok(Some(Command::Quit)) => break,
            Ok(Some(command)) => {
                let words = command.run(&mut conversation, last.as_ref()).await?;
                output::line(words)?;
                continue;
            }
            Ok(None) if said.trim().is_empty() => continue,
            Ok(None) => {}
            Err(mistake) => {
                output::line(mistake)?;
                continue;
            }
        }
        stop.store(false, Ordering::Relaxed);
        answering.store(true, Ordering::Relaxed);
        let bar = output::bar(0, shared.quiet);
        let progress = |done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        };
        let mut shown = Ok(());
        let answer = conversation
            .say(&said, progress, |text| {
                bar.finish_and_clear();
                if !shared.json && shown.is_ok() {
                    shown = output::write(text);
                }
                shown.is_ok() && !stop.load(Ordering::Relaxed)
            })
            .await;
        answering.store(false, Ordering::Relaxed);
        let answer = answer?;
        if shared.json {
            let line = Line {
                role: "assistant",
                content: &answer.text,
                tokens: answer.generated.tokens.len(),
                prompt_tokens: answer.prompt().len(),
                seconds: answer.generated.prompt_seconds + answer.generated.seconds,
                tokens_per_second: answer.generated.rate(),
                finish: answer.generated.finish,
            };
            shared.result(&line, String::new)?;
        } else {
            shown.and_then(|()| output::line(""))?;
            for note in &answer.notes {
                shared.say(format_args!("({note})"));
            }
            let generated = &answer.generated;
            shared.say(format_args!(
                "({}{}, the first after {:.2} s)",
                counted(generated.tokens.len(), "token"),
                output::rate(generated),
                generated.prompt_seconds
            ));
        }
        last = Some(answer);
    }
    shared.close(&gpu)
}
