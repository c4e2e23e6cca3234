//! The state that all handlers share.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::{
    json::mask::Vocabulary,
    memory::{Held, Memory},
    metrics::Metrics,
    problem::{Problem, short},
    worker::Worker,
};
use crate::feedback::StoreThread;
use wgpt::{
    Result,
    gpu::Gpu,
    infer::engine::Engine,
    interchange::TextCodec,
    model::{Config, parameters},
    text::{ChatTemplate, Message},
};

/// Limits that prevent any client from taking up the whole server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum size of a body in bytes.
    pub body: usize,
    /// Maximum number of connections; further ones are told to try again later.
    pub connections: usize,
    /// Maximum number of connections from one address other than this machine's own, behind which a proxy may be.
    pub per_address: usize,
    /// Maximum number of choices in one request.
    pub choices: usize,
    /// Time limit for the first byte of a connection.
    pub first: Duration,
    /// Time limit for the head of a request, and between requests on a connection.
    pub idle: Duration,
    /// Time limit for a whole body.
    pub patience: Duration,
    /// Time limit for a client that does not read what is sent.
    pub stalled: Duration,
    /// Bytes that large bodies may take together while they arrive.
    pub bodies: usize,
    /// Bytes that the values of large bodies may take together while they are read.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            body: 1 << 20,
            connections: 768,
            per_address: 192,
            choices: 16,
            first: seconds(5),
            idle: seconds(30),
            patience: seconds(30),
            stalled: seconds(30),
            bodies: 24 << 20,
            values: 48 << 20,
        }
    }
}

/// A model under the name that requests use: the loaded one, or one of its adapters.
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// The name of the adapters it is computed with, if any.
    pub adapter: Option<String>,
    /// How it reads and writes text.
    pub codec: Arc<TextCodec>,
    /// Its chat template; [`None`] for a model that was not trained to chat; or what is wrong with it.
    pub template: Result<Option<ChatTemplate>, String>,
    /// The vocabulary for JSON mode, built on first use.
    vocabulary: OnceLock<Result<Arc<Vocabulary>, String>>,
    /// Held while the template renders a conversation.
    rendering: Arc<Semaphore>,
}

/// How long a template may take for a conversation. Usual ones take a millisecond.
const RENDERING: Duration = Duration::from_millis(if cfg!(test) { 1_500 } else { 20_000 });

impl ServedModel {
    /// A model.
    pub fn new(name: String, adapter: Option<String>, codec: TextCodec) -> Self {
        let TextCodec { tokenizer, conventions } = &codec;
        // Completions need no template.
        let template = conventions.talk(tokenizer).map_err(|error| error.to_string());
        Self {
            name,
            adapter,
            codec: Arc::new(codec),
            template,
            vocabulary: OnceLock::new(),
            rendering: Arc::new(Semaphore::new(1)),
        }
    }

    /// The tokens of a conversation, ready to be continued by an answer. `held` is the memory of the conversation.
    ///
    /// A template of a model file may be made to take forever. There is one conversation at a time in it, so that it takes one
    /// thread with it and not all of them.
    ///
    /// # Errors
    /// 400 if the model has no chat template, or if its template or tokenizer refuses the conversation; 503 if the template
    /// takes too long.
    pub async fn prompt(self: Arc<Self>, messages: Vec<Message>, held: Held) -> Result<Vec<u32>, Problem> {
        let slow = || {
            let reason = format!("the chat template of {} has not ended after {} s", self.name, RENDERING.as_secs());
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "slow_template", reason)
        };
        let place =
            tokio::time::timeout(RENDERING, self.rendering.clone().acquire_owned()).await.map_err(|_| slow())?;
        let model = self.clone();
        let render = App::aside(move || {
            let _place = place;
            model.render(&messages)
        });
        let text = tokio::time::timeout(RENDERING, render).await.map_err(|_| slow())??;
        App::aside(move || {
            let _held = held;
            Ok(self.codec.tokenizer.encode_special(&text)?)
        })
        .await
    }

    fn render(&self, messages: &[Message]) -> Result<String, Problem> {
        let template = self.template.as_ref().map_err(|reason| {
            Problem::bad(format!("{} cannot chat: {reason}; /v1/completions works without a template", self.name))
        })?;
        let template = template.as_ref().ok_or_else(|| {
            Problem::bad(format!(
                "{} has no chat template: it was not trained to chat; use /v1/completions, or fine-tune it with `wgpt sft`",
                self.name
            ))
        })?;
        Ok(template.render(messages, true)?)
    }

    /// The vocabulary for JSON mode.
    ///
    /// # Errors
    /// 400 if the model cannot write JSON.
    pub fn vocabulary(&self) -> Result<Arc<Vocabulary>, Problem> {
        let made = self.vocabulary.get_or_init(|| Vocabulary::new(&self.codec.tokenizer).map(Arc::new));
        made.clone().map_err(|reason| Problem::field("response_format", reason))
    }
}

/// What `/wgpt/about` reports about the model and the GPU.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The model's configuration.
    pub config: Config,
    /// Number of its parameters.
    pub parameters: u64,
    /// Maximum number of tokens in a text, including its prompt.
    pub window: usize,
    /// The GPU's name, backend and driver.
    pub gpu: [String; 3],
    /// Whether a reward model is loaded.
    pub reward: bool,
}

impl Facts {
    /// The facts about an engine's model on a GPU.
    pub fn of(gpu: &Gpu, engine: &Engine, reward: bool) -> Self {
        let config = engine.model().config();
        let parameters = parameters::count(config) as u64;
        let info = gpu.info();
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_string();
        let gpu = [info.name.clone(), format!("{:?}", info.backend), driver];
        Self { config: config.clone(), parameters, window: engine.window(), gpu, reward }
    }
}

/// The server's state.
pub struct App {
    /// The model, followed by its adapters.
    pub models: Vec<Arc<ServedModel>>,
    /// The engine.
    pub worker: Worker,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Facts about the model.
    pub facts: Facts,
    /// Limits.
    pub limits: Limits,
    /// What bodies may take together.
    pub memory: Memory,
    /// The key that requests must send, if there is one.
    pub key: Option<String>,
    /// The folder of the runs.
    pub runs: PathBuf,
    /// The path of the ratings database, which is created with the first rating.
    pub feedback: PathBuf,
    /// Writes to the ratings database.
    pub store: StoreThread,
    /// Whether new requests are refused because the server is shutting down.
    pub draining: AtomicBool,
    /// When the server started, in seconds since 1970.
    pub created: u64,
    /// Generates names and seeds that nobody can guess.
    pub secrets: Secrets,
}

impl App {
    /// The model that a request names; the base model if it names none.
    ///
    /// # Errors
    /// 404 with the available names.
    pub fn model(&self, name: Option<&str>) -> Result<Arc<ServedModel>, Problem> {
        let found = match name {
            None => self.models.first(),
            Some(name) => self.models.iter().find(|model| model.name == name),
        };
        found.cloned().ok_or_else(|| {
            let known: Vec<_> = self.models.iter().map(|model| model.name.as_str()).collect();
            let reason =
                format!("the model '{}' does not exist; available: {}", short(name.unwrap_or("")), known.join(", "));
            let status = StatusCode::NOT_FOUND;
            Problem { param: Some("model".to_string()), ..Problem::new(status, "model_not_found", reason) }
        })
    }

    /// Runs slow work off the threads that serve requests.
    ///
    /// # Errors
    /// Returns the error of the work; 500 if it panics.
    pub async fn aside<T: Send + 'static>(
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Problem::fault("the work was interrupted")))
    }
}

/// Numbers that clients cannot predict: ids of answers, and seeds of requests that give none.
#[derive(Debug, Default)]
pub struct Secrets {
    state: RandomState,
    count: AtomicU64,
}

impl Secrets {
    /// The next number.
    pub fn next(&self) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(self.count.fetch_add(1, Relaxed));
        hasher.finish()
    }
}

/// A model's name from a folder or file name, without uninformative parts such as `checkpoint-00000200` and `.gguf`.
pub fn name_of(path: &std::path::Path) -> String {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let name = |path: &std::path::Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut last = name(&whole).unwrap_or_else(|| "model".to_string());
    if matches!(last.as_str(), "model.safetensors" | "config.json") || last.starts_with("checkpoint-") {
        let above = whole.ancestors().skip(1).filter_map(name).find(|name| !name.starts_with("checkpoint-"));
        last = above.unwrap_or(last);
    }
    last.strip_suffix(".gguf").unwrap_or(&last).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_what_says_something() {
        for (path, name) in [
            ("runs/talker", "talker"),
            ("runs/talker/checkpoint-00000200", "talker"),
            ("runs/talker/checkpoint-00000200/model.safetensors", "talker"),
            ("models/Small.Q4_1.gguf", "Small.Q4_1"),
        ] {
            assert_eq!(name_of(std::path::Path::new(path)), name);
        }
    }

    /// It compares two lists that hold each other's halves: 2^200 comparisons, none of which costs fuel.
    #[test]
    fn a_template_that_never_ends_takes_no_more_than_a_thread() {
        let grown = "{% for i in range(200) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}";
        let compared = "{{ 'slow' if messages[0].content == 'slow' and ns.a == ns.b else 'fast' }}";
        let text = format!("{{% set ns = namespace(a=[1], b=[1]) %}}{grown}{compared}");
        let mut codec = TextCodec::plain(wgpt::text::Tokenizer::chars_of(["fastlow"]).unwrap());
        codec.conventions.template = Some(text);
        let model = Arc::new(ServedModel::new("m".into(), None, codec));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().max_blocking_threads(2).enable_time().build().unwrap();
        let ask = |content: &str| model.clone().prompt(vec![Message::new("user", content)], Held::default());
        runtime.block_on(async {
            assert_eq!(ask("fast").await.unwrap().len(), 4);
            for _ in 0..2 {
                assert_eq!(ask("slow").await.unwrap_err().code, Some("slow_template"));
            }
            assert_eq!(ask("fast").await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
            // The other thread is still there.
            assert_eq!(App::aside(|| Ok(3)).await.unwrap(), 3);
        });
        runtime.shutdown_background();
    }

    #[test]
    fn secrets_differ() {
        let secrets = Secrets::default();
        assert_ne!(secrets.next(), secrets.next());
        assert_ne!(Secrets::default().next(), Secrets::default().next());
    }
}
