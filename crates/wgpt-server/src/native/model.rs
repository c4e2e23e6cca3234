//! What the page asks about the model: `/wgpt/about`, what it is; `/tokenize`, a text as its tokens; `/wgpt/inside`, its
//! attention, and its predictions after every token; `/wgpt/reward`, the reward model's scores of answers.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    base64,
    openai::{chat, logprobs::finite},
    pieces::{list, pieces},
    problem::{Problem, ok},
    router::{self, ReadRequest},
    worker::NO_REWARD,
};
use wgpt::{
    infer::{engine::LONGEST, sampler::Candidate},
    text::Tokenizer,
};

/// Maximum number of answers per request.
const MOST: usize = 64;

/// Tokens that are written at a time.
const PIECE: usize = 512;

/// Reports them.
pub async fn about(State(app): State<Arc<App>>) -> Response {
    let config = &app.facts.config;
    let [name, backend, driver] = &app.facts.gpu;
    let adapters: Vec<_> = app.models.iter().skip(1).map(|model| model.name.as_str()).collect();
    ok(&json!({
        "model": app.models[0].name, "parameters": app.facts.parameters, "context": app.facts.window,
        "vocabulary": config.vocabulary, "layers": config.layers, "heads": config.heads, "adapters": adapters,
        "adapter": { "name": name, "backend": backend, "driver": driver }, "reward": app.facts.reward,
        "chats": matches!(app.models[0].template, Ok(Some(_))), "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// The tokens of `text`, including what the model puts before a text. Special tokens are recognised by name.
///
/// # Errors
/// 400 for a text that the tokenizer cannot encode.
pub async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ReadRequest { fields, .. } = router::asked(&app, request).await?;
    let model = app.model(fields.text("model")?)?;
    let missing = || Problem::field("text", "is missing");
    fields.text("text")?.ok_or_else(missing)?;
    let reader = model.clone();
    // At most a token for every byte.
    let held = app.memory.answer(fields.text("text")?.map_or(0, str::len) * size_of::<u32>(), "text")?;
    let ids = App::aside(move || Ok(reader.codec.read(fields.text("text")?.unwrap_or_default())?)).await?;
    // A text may have a million tokens, which as JSON take a hundred megabytes.
    let tokens = list(ids, PIECE, move |id| {
        let _held = &held;
        token(&model.codec.tokenizer, id)
    });
    let begin = std::iter::once("{\"tokens\":[".to_string());
    let body = begin.chain(tokens).chain(std::iter::once("]}".to_string()));
    Ok(pieces("application/json", body.map(|piece| Ok(piece.into_bytes()))))
}

/// Runs the model on `text` or `messages` and reports its attention and, after each token, the `top` most likely next
/// tokens (10 by default, at most 50).
///
/// # Errors
/// 400 for a text that is empty or too long.
pub async fn inside(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ReadRequest { fields, spent, client } = router::asked(&app, request).await?;
    let top = fields.integer("top", 0..=50)?.unwrap_or(10) as usize;
    let model = app.model(None)?;
    let (reader, text) = (model.clone(), fields.text("text")?.map(str::to_string));
    let messages = fields.get("messages").map(chat::messages).transpose()?;
    let held = fields.into_held();
    let ids = match (text, messages) {
        (Some(text), None) => App::aside(move || Ok(reader.codec.read(&text)?)).await?,
        (None, Some(messages)) => reader.prompt(messages, held).await?,
        _ => return Err(Problem::bad("give either \"text\" or \"messages\"")),
    };
    let longest = LONGEST.min(app.facts.window);
    if ids.is_empty() || ids.len() > longest {
        return Err(Problem::bad(format!("the text has {} tokens; give 1 to {longest}", ids.len())));
    }
    spent.prompt(ids.len());
    let inside = app.memory.inside().await?;
    let inspection = app.worker.inspect(&app.worker.place(client.0)?, ids.clone(), top).await?;
    let value = App::aside(move || {
        let tokenizer = &model.codec.tokenizer;
        // One byte per probability is as precise as a screen can show.
        let attention: Vec<u8> = inspection.attention.iter().map(|share| (share * 255.0).round() as u8).collect();
        let row = |row: &Vec<_>| row.iter().map(|candidate| likely(tokenizer, candidate)).collect::<Vec<Value>>();
        Ok(json!({
            "tokens": ids.iter().map(|id| token(tokenizer, *id)).collect::<Vec<_>>(),
            "layers": inspection.layers, "heads": inspection.heads, "attention": base64::encode(&attention),
            "next": inspection.next.iter().map(row).collect::<Vec<_>>(),
        }))
    });
    let text = value.await?.to_string().into_bytes();
    // Held until it is sent.
    let mut parts = std::iter::once(text).chain(std::iter::once_with(move || {
        drop(inside);
        Vec::new()
    }));
    Ok(pieces("application/json", std::iter::from_fn(move || parts.next().map(Ok))))
}

/// The reward of each of `answers` to `messages`.
///
/// # Errors
/// 400 if no reward model is loaded, or if the messages are not a conversation.
pub async fn reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ReadRequest { fields, client, .. } = router::asked(&app, request).await?;
    if !app.facts.reward {
        return Err(Problem::bad(NO_REWARD));
    }
    let messages = chat::messages(fields.need("messages")?)?;
    let wrong = || Problem::field("answers", format!("must be a list of 1 to {MOST} texts"));
    let answers = fields.list("answers")?;
    if !(1..=MOST).contains(&answers.len()) {
        return Err(wrong());
    }
    let text = |answer: &Value| Ok((messages.clone(), answer.as_str().ok_or_else(wrong)?.to_string()));
    let texts = answers.iter().map(text).collect::<Result<Vec<_>, Problem>>()?;
    drop(fields);
    Ok(ok(&json!({ "rewards": app.worker.reward(&app.worker.place(client.0)?, texts).await? })))
}

/// `{"id", "text", "bytes"}`
fn token(tokenizer: &Tokenizer, id: u32) -> Value {
    json!({ "id": id, "text": tokenizer.token_text(id), "bytes": tokenizer.token_bytes(id) })
}

/// `{"id", "text", "bytes", "logprob"}`
fn likely(tokenizer: &Tokenizer, candidate: &Candidate) -> Value {
    let mut likely = token(tokenizer, candidate.id);
    likely["logprob"] = json!(finite(candidate.logprob));
    likely
}
