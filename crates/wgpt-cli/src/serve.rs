//! `wgpt serve`

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use super::{
    Shared, cache,
    feedback::Database,
    options::{LoadArguments, TemplateArgument},
    output,
};
use wgpt::{
    Error, Result,
    error::counted,
    gpu::Gpu,
    infer::engine::{Engine, Settings},
    interchange::{TextCodec, load},
    ops::kv::paged::PAGE,
    text::DataFile,
    train::reward::RewardModel,
};
use wgpt_server::{
    Served, Server,
    app::{Facts, Limits, ServedModel, name_of},
    router::Line,
};

/// Serve a model: a web page for chatting, and OpenAI's endpoints
#[derive(Debug, Args)]
#[command(after_help = "Endpoints:
  /                                   a page to chat, compare and rate answers, and watch training
  /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models       for OpenAI's clients
  /tokenize, /health, /metrics        tokens of a text; server status; metrics for Prometheus

Examples:
  wgpt serve
  wgpt serve --model model.gguf
  wgpt serve --model runs/talker --reward runs/judge --feedback team.sqlite
  wgpt serve --model model.gguf --lora polite=runs/polite --lora terse=runs/terse
  WGPT_API_KEY=secret wgpt serve --model model.gguf --host 0.0.0.0 --allow-host box.lan
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"stream\": true}'

SIGTERM or Ctrl-C lets running answers end; a second one ends at once.")]
pub(crate) struct Arguments {
    /// GGUF file, Hugging Face folder, checkpoint or run folder [default: the small model that comes with the program]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// A reward model trained by `wgpt reward`, to score answers
    #[arg(long, value_name = "PATH")]
    reward: Option<PathBuf>,
    /// Adapters over the model, selected by name in requests; may be repeated
    #[arg(long, value_name = "NAME=RUN")]
    lora: Vec<String>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 for any free port
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Key that requests must send as 'Authorization: Bearer KEY'; other users of this machine can see the arguments of a
    /// program, so better use the variable or --api-key-file
    #[arg(long, env = "WGPT_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// File with that key; comes before the variable
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Allow an address that other machines can reach without a key
    #[arg(long)]
    public: bool,
    /// Host name to accept in addition to localhost and the server's address; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Folder of the runs that the page shows
    #[arg(long, default_value = "runs", value_name = "DIR")]
    runs: PathBuf,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    template: TemplateArgument,
    /// Maximum number of answers generated at once
    #[arg(long, default_value_t = Settings::default().sequences, value_name = "N")]
    sequences: usize,
    /// Maximum number of waiting answers; further requests are refused until there is room
    #[arg(long, default_value_t = Settings::default().waiting, value_name = "N")]
    queue: usize,
    /// Number of tokens in the cache, over all answers
    #[arg(long, default_value_t = Settings::default().tokens, value_name = "N")]
    cache_tokens: usize,
    /// Maximum size of a request in bytes
    #[arg(long, default_value_t = Limits::default().body, value_name = "BYTES")]
    max_body: usize,
    /// Maximum number of connections
    #[arg(long, default_value_t = Limits::default().connections, value_name = "N")]
    connections: usize,
    /// Time limit in seconds for receiving a request, for a client to read, and between requests
    #[arg(long, default_value_t = Limits::default().idle.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

#[derive(Serialize)]
struct Output {
    requests: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
    finished: u64,
    cancelled: u64,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let key = key(arguments)?;
    let address = address(arguments, key.is_some())?;
    for (name, number, least) in [
        ("sequences", arguments.sequences, 1),
        ("queue", arguments.queue, 1),
        ("cache-tokens", arguments.cache_tokens, PAGE),
        ("max-body", arguments.max_body, 1),
        ("connections", arguments.connections, 1),
    ] {
        if number < least {
            return Err(Error::Usage(format!("--{name} {number}: give at least {least}")));
        }
    }
    let gpu = shared.open().await?;
    let server = server(shared, arguments, &gpu, key)?;
    let (json, quiet) = (shared.json, shared.quiet);
    let ready = |bound: SocketAddr| match json {
        true => output::say(serde_json::json!({ "listening": format!("http://{bound}") })),
        false => shared.say(format_args!("listening at http://{bound}; Ctrl-C ends")),
    };
    let draining = |open| {
        if open > 0 {
            let open = counted(open, "open request");
            shared.say(format_args!("waiting for the end of {open}; Ctrl-C again ends at once"));
        }
    };
    let log = move |line: &Line| match (json, quiet) {
        (true, _) => output::say(serde_json::to_string(line).unwrap_or_default()),
        (false, false) => output::say(words(line)),
        (false, true) => {}
    };
    let Served { requests, figures } = server.run(address, ready, draining, log)?;
    shared.close(&gpu)?;
    let output = Output {
        requests,
        prompt_tokens: figures.prompt_tokens,
        cached_tokens: figures.cached_tokens,
        generated_tokens: figures.generated_tokens,
        finished: figures.finished,
        cancelled: figures.cancelled,
    };
    shared.result(&output, || {
        format!(
            "{}, {} read, {} generated",
            counted(requests, "request"),
            counted(output.prompt_tokens, "token"),
            output.generated_tokens
        )
    })
}

/// The key that requests must send, if there is one.
fn key(arguments: &Arguments) -> Result<Option<String>> {
    let (key, option) = match &arguments.api_key_file {
        Some(file) => (Some(DataFile::open(file)?.text_within(4096)?.trim().to_string()), "--api-key-file"),
        None => (arguments.api_key.clone(), "--api-key"),
    };
    match key {
        Some(key) if key.trim().is_empty() => {
            Err(Error::Usage(format!("{option} is empty: give a key, or leave it out")))
        }
        Some(key) if key.chars().any(|letter| letter.is_control() || !letter.is_ascii()) => {
            Err(Error::Usage(format!("{option}: a key is one line of ASCII, so that requests can send it")))
        }
        key => Ok(key),
    }
}

/// The address to listen on. An address that other machines can reach requires a key, or --public.
fn address(arguments: &Arguments, has_key: bool) -> Result<SocketAddr> {
    let host = arguments.host.trim_start_matches('[').trim_end_matches(']');
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => Some(ip),
        Err(_) => (host, 0).to_socket_addrs().ok().and_then(|mut all| all.next()).map(|address| address.ip()),
    };
    let ip = ip.ok_or_else(|| Error::Usage(format!("--host {host}: no such address")))?;
    if !ip.is_loopback() && !has_key && !arguments.public {
        let reason = "others can reach it: give --api-key-file (or WGPT_API_KEY), or --public to let everybody in";
        return Err(Error::Usage(format!("--host {host}: {reason}")));
    }
    Ok(SocketAddr::new(ip, arguments.port))
}

/// Loads the models and adapters.
fn server(shared: &Shared, arguments: &Arguments, gpu: &Gpu, key: Option<String>) -> Result<Server> {
    let base = cache::or_talker(arguments.model.as_ref())?;
    let (model, mut codec) = shared.load(gpu, &base, &arguments.load)?;
    arguments.template.apply(&mut codec)?;
    let mut models = vec![ServedModel::new(name_of(&base), None, codec)];
    let mut adapters = Vec::new();
    for option in &arguments.lora {
        let wrong = || Error::Usage(format!("--lora {option}: give NAME=RUN"));
        let (name, path) = option.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        if models.iter().any(|model| model.name == name) {
            return Err(Error::Usage(format!("--lora {option}: the name {name} is taken")));
        }
        let path = PathBuf::from(path);
        let codec = TextCodec::adapted(&path, &base)?;
        adapters.push((name.to_string(), load::beside(&model, &base, &path)?));
        models.push(ServedModel::new(name.to_string(), Some(name.to_string()), codec));
    }
    let open = |path: &PathBuf| RewardModel::load(gpu, path, arguments.load.storage()?, |_, _| ());
    let reward = arguments.reward.as_ref().map(open).transpose()?;
    let settings = Settings {
        sequences: arguments.sequences,
        waiting: arguments.queue,
        tokens: arguments.cache_tokens,
        precision: arguments.load.precision(),
        ..Settings::default()
    };
    let engine = Engine::new(gpu.clone(), model, adapters, settings)?;
    let patience = Duration::from_secs(arguments.timeout);
    let limits = Limits {
        body: arguments.max_body,
        connections: arguments.connections,
        per_address: (arguments.connections / 4).max(1),
        first: patience.min(Limits::default().first),
        idle: patience,
        patience,
        stalled: patience,
        ..Limits::default()
    };
    Ok(Server {
        facts: Facts::of(gpu, &engine, reward.is_some()),
        engine,
        models,
        reward,
        waiting: arguments.queue,
        limits,
        key,
        hosts: arguments.allow_host.clone(),
        runs: arguments.runs.clone(),
        feedback: arguments.database.feedback.clone(),
    })
}

/// A request as one line of text.
fn words(line: &Line) -> String {
    let [prompt, cached, generated] = line.tokens;
    let tokens = match prompt + generated {
        0 => String::new(),
        _ => format!(", {} read ({cached} cached), {generated} generated", counted(prompt, "token")),
    };
    let broken = if line.broken { ", broken off" } else { "" };
    format!("{} {} {} {} ms{tokens}{broken}", line.method, line.path, line.status, line.milliseconds)
}
