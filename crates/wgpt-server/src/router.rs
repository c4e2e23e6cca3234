//! The routes, and what surrounds every request: checks before it, counting and logging after it.

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, Version, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::body::{Frame, SizeHint};
use serde_json::json;

use super::{
    app::App,
    guard::{self, Hosts},
    input::{self, Fields},
    native::{feedback, model, rate, runs},
    openai::{ask::TokenCounts, chat, completions, embeddings, models},
    page,
    problem::{Problem, ok},
};
use crate::feedback::now;

/// The system fingerprint that answers report.
pub const FINGERPRINT: &str = concat!("wgpt-", env!("CARGO_PKG_VERSION"));

/// The state used around the routes.
pub struct Gate {
    /// The server's state.
    pub app: Arc<App>,
    /// The host names of this server.
    pub hosts: Hosts,
    /// Number of requests in progress, including streams.
    pub open: Arc<AtomicUsize>,
    /// Writes lines of the log.
    pub log: Box<dyn Fn(&Line) + Send + Sync>,
}

/// A line of the log: one completed request.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Line {
    /// Milliseconds since 1970.
    pub time: u64,
    /// GET or POST.
    pub method: String,
    /// The route; unknown paths are shortened.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// Time until the last byte was sent or the client disconnected.
    pub milliseconds: u64,
    /// Prompt tokens, those of them found in the cache, and generated tokens.
    pub tokens: [usize; 3],
    /// Whether the client disconnected before the end.
    pub broken: bool,
}

/// Seconds since 1970.
pub fn seconds() -> u64 {
    now() / 1000
}

/// All routes, behind the gate.
pub fn router(gate: Arc<Gate>) -> Router {
    let app = gate.app.clone();
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::one))
        .route("/tokenize", post(model::tokenize))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/wgpt/about", get(model::about))
        .route("/wgpt/inside", post(model::inside))
        .route("/wgpt/rate", post(rate::rate))
        .route("/wgpt/feedback", get(feedback::overview))
        .route("/wgpt/feedback/export", get(feedback::export))
        .route("/wgpt/runs", get(runs::list))
        .route("/wgpt/runs/{name}", get(runs::one))
        .route("/wgpt/reward", post(model::reward))
        .route("/", get(page::index))
        .route("/web/{name}", get(page::file))
        .fallback(|| async { Problem::missing("no such path; docs/serving.md lists the endpoints") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "method not allowed: use GET instead of POST, or POST instead of GET",
            )
        })
        .with_state(app)
        .layer(from_fn_with_state(gate, surround))
}

/// A request whose body has been read.
pub struct ReadRequest {
    /// The JSON object in its body.
    pub fields: Fields,
    /// Counts its tokens.
    pub spent: Arc<TokenCounts>,
    /// The address of its client.
    pub client: Client,
}

/// The address of the client at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub IpAddr);

impl Default for Client {
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

/// Reads a request's body.
///
/// # Errors
/// 413, 408, 400 or 503; see [`input::read`], [`Memory::values`](crate::memory::Memory::values) and [`Fields::parse`].
pub async fn asked(app: &App, request: Request) -> Result<ReadRequest, Problem> {
    let (parts, body) = request.into_parts();
    let body = input::read(&parts.headers, body, app.limits.body, app.limits.patience, &app.memory).await?;
    let held = app.memory.values(&body.bytes).await?;
    let spent = parts.extensions.get::<Arc<TokenCounts>>().cloned().unwrap_or_default();
    let client = parts.extensions.get::<Client>().copied().unwrap_or_default();
    Ok(ReadRequest { fields: Fields::parse_into(&body.bytes, held)?, spent, client })
}

/// Reports that the server is up, and the number of running and waiting requests.
async fn health(State(app): State<Arc<App>>) -> Response {
    let (figures, queued) = app.worker.figures();
    ok(&json!({ "status": "ok", "running": figures.running, "waiting": figures.waiting + queued }))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let (figures, queued) = app.worker.figures();
    let mut response = Response::new(Body::from(app.metrics.text(&figures, queued)));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Whether a path is accessible without the key: the page's files hold no secrets, and its scripts send the key
/// themselves.
fn is_open(path: &str) -> bool {
    path == "/" || path == "/health" || path.starts_with("/web/")
}

async fn surround(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let (start, spent) = (Instant::now(), Arc::new(TokenCounts::default()));
    gate.open.fetch_add(1, SeqCst);
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let line = Line {
        time: now(),
        method: match *request.method() {
            Method::GET => "GET".to_string(),
            Method::POST => "POST".to_string(),
            _ => "other".to_string(),
        },
        path: route.unwrap_or_else(|| "other".to_string()),
        status: 499,
        milliseconds: 0,
        tokens: [0; 3],
        broken: true,
    };
    // From here on the request is counted and logged, even if the client disconnects and this future is dropped.
    let mut record = Record { gate: gate.clone(), line, start, spent: spent.clone() };
    let checked = if gate.app.draining.load(SeqCst) {
        Err(Problem::draining())
    } else {
        let key = gate.app.key.as_deref().filter(|_| !is_open(request.uri().path()));
        // Probes speak HTTP/1.0 without a host, which no browser does.
        let probe = request.version() == Version::HTTP_10 && ["/health", "/metrics"].contains(&request.uri().path());
        let checked = match probe && !request.headers().contains_key(header::HOST) {
            true => Ok(()),
            false => gate.hosts.check(request.uri(), request.headers()),
        };
        checked.and_then(|()| guard::authorise(key, request.headers()))
    };
    request.extensions_mut().insert(spent);
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    record.line.status = response.status().as_u16();
    record.line.broken = !response.body().is_end_stream();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if gate.app.draining.load(SeqCst) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Body::new(Recorded { body, record }))
}

/// Counts and logs a request when it is dropped: after its last byte, or when its client disconnects.
struct Record {
    gate: Arc<Gate>,
    line: Line,
    start: Instant,
    spent: Arc<TokenCounts>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.line.milliseconds = self.start.elapsed().as_millis() as u64;
        self.line.tokens = self.spent.counts();
        self.gate.app.metrics.answered(&self.line.path, self.line.status);
        (self.gate.log)(&self.line);
        self.gate.open.fetch_sub(1, SeqCst);
    }
}

/// A body that drops its record when it ends.
struct Recorded {
    body: Body,
    record: Record,
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(poll, Poll::Ready(None)) || self.body.is_end_stream() {
            self.record.line.broken = false;
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
