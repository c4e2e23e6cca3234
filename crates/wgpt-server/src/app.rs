//! What all handlers share.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    json::mask::Vocabulary,
    metrics::Metrics,
    problem::{Problem, short},
    worker::Worker,
};
use crate::feedback::Store;
use wgpt::{
    Result,
    gpu::Gpu,
    infer::engine::Engine,
    interchange::TextCodec,
    model::{Config, parameters},
    text::{ChatTemplate, Message},
};

/// Limits that keep any client from taking the server from the others.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a body.
    pub body: usize,
    /// Most connections; further ones are told to come again.
    pub connections: usize,
    /// Most choices of one request.
    pub choices: usize,
    /// For the head of a request, and between requests of a connection.
    pub idle: Duration,
    /// For a whole body.
    pub patience: Duration,
    /// For a client that reads nothing of what is sent.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (idle, patience, stalled) = (Duration::from_secs(30), Duration::from_secs(30), Duration::from_secs(30));
        Self { body: 1 << 20, connections: 768, choices: 16, idle, patience, stalled }
    }
}

/// A model by the name that requests call it by: the loaded one, or one of its adapters.
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// The adapters that it computes with.
    pub adapter: Option<String>,
    /// How it reads and writes.
    pub codec: Arc<TextCodec>,
    /// How it talks; none of a model that was not taught to.
    pub template: Option<ChatTemplate>,
    /// What JSON mode needs, made when it is first asked for.
    vocabulary: OnceLock<Result<Arc<Vocabulary>, String>>,
}

impl ServedModel {
    /// A model.
    ///
    /// # Errors
    /// [`Error::Template`] for a chat template that cannot be read.
    pub fn new(name: String, adapter: Option<String>, codec: TextCodec) -> Result<Self> {
        let TextCodec { tokenizer, conventions } = &codec;
        let template = conventions.talk(tokenizer)?;
        Ok(Self { name, adapter, codec: Arc::new(codec), template, vocabulary: OnceLock::new() })
    }

    /// A conversation as the tokens that its answer follows.
    ///
    /// # Errors
    /// 400 for a model that does not talk, and for what its template or tokenizer refuses.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Problem> {
        let template = self.template.as_ref().ok_or_else(|| {
            Problem::bad(format!(
                "{} has no chat template: it was not taught to talk; use /v1/completions, or teach it by `wgpt sft`",
                self.name
            ))
        })?;
        Ok(self.codec.tokenizer.encode_special(&template.render(messages, true)?)?)
    }

    /// The vocabulary of JSON mode.
    ///
    /// # Errors
    /// 400 for a model that cannot write JSON.
    pub fn vocabulary(&self) -> Result<Arc<Vocabulary>, Problem> {
        let made = self.vocabulary.get_or_init(|| Vocabulary::new(&self.codec.tokenizer).map(Arc::new));
        made.clone().map_err(|reason| Problem::field("response_format", reason))
    }
}

/// What `/wgpt/about` tells of the model and the adapter.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The model's shape.
    pub config: Config,
    /// Number of its parameters.
    pub parameters: u64,
    /// Most tokens of a text, its prompt included.
    pub window: usize,
    /// The GPU's name, backend and driver.
    pub gpu: [String; 3],
    /// Whether a reward model is loaded.
    pub reward: bool,
}

impl Facts {
    /// Those of an engine's model on a GPU.
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
    /// The model, and then its adapters.
    pub models: Vec<Arc<ServedModel>>,
    /// The engine.
    pub worker: Worker,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What the model is.
    pub facts: Facts,
    /// Limits.
    pub limits: Limits,
    /// The key that requests must bring, if there is one.
    pub key: Option<String>,
    /// Where the runs lie.
    pub runs: PathBuf,
    /// The database of ratings; it is begun with the first.
    pub feedback: PathBuf,
    /// That database, once it is open.
    pub store: Mutex<Option<Store>>,
    /// Whether no new requests are taken.
    pub draining: AtomicBool,
    /// When the server started, in seconds since 1970.
    pub created: u64,
    /// Makes names and seeds that nobody can guess.
    pub secrets: Secrets,
}

impl App {
    /// The model that a request names; the model itself where it names none.
    ///
    /// # Errors
    /// 404 with what there is.
    pub fn model(&self, name: Option<&str>) -> Result<Arc<ServedModel>, Problem> {
        let found = match name {
            None => self.models.first(),
            Some(name) => self.models.iter().find(|model| model.name == name),
        };
        found.cloned().ok_or_else(|| {
            let known: Vec<_> = self.models.iter().map(|model| model.name.as_str()).collect();
            let reason =
                format!("the model '{}' does not exist; there is {}", short(name.unwrap_or("")), known.join(", "));
            let status = axum::http::StatusCode::NOT_FOUND;
            Problem { param: Some("model".to_string()), ..Problem::new(status, "model_not_found", reason) }
        })
    }

    /// Runs work that takes a while away from the threads that serve.
    ///
    /// # Errors
    /// What the work returns; 500 when it panics.
    pub async fn aside<T: Send + 'static>(
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Problem::fault("the work broke off")))
    }
}

/// Numbers that nobody outside can foresee: names of answers, and seeds of requests that give none.
#[derive(Debug, Default)]
pub struct Secrets {
    state: RandomState,
    count: AtomicU64,
}

impl Secrets {
    /// The next one.
    pub fn next(&self) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(self.count.fetch_add(1, Relaxed));
        hasher.finish()
    }
}

/// A folder or file name as a model's name: `checkpoint-00000200` and `.gguf` say nothing.
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

    #[test]
    fn secrets_differ() {
        let secrets = Secrets::default();
        assert_ne!(secrets.next(), secrets.next());
        assert_ne!(Secrets::default().next(), Secrets::default().next());
    }
}
