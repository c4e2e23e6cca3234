//! `/wgpt/inside`: the model's attention, and its predictions after every token.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{likely, token};
use crate::{
    app::App,
    base64,
    openai::chat,
    problem::{Problem, ok},
    router::{self, Asked},
};
use wgpt::infer::engine::LONGEST;

/// Runs the model on `text` or `messages` and reports its attention and, after each token, the `top` most likely next
/// tokens (10 by default, at most 50).
///
/// # Errors
/// 400 for a text that is empty or too long.
pub async fn inside(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let Asked { fields, spent } = router::asked(&app, request).await?;
    let top = fields.integer("top", 0..=50)?.unwrap_or(10) as usize;
    let model = app.model(None)?;
    let (reader, text) = (model.clone(), fields.text("text")?.map(str::to_string));
    let messages = fields.get("messages").map(chat::messages).transpose()?;
    let ids = App::aside(move || match (text, messages) {
        (Some(text), None) => Ok(reader.codec.read(&text)?),
        (None, Some(messages)) => reader.prompt(&messages),
        _ => Err(Problem::bad("give either \"text\" or \"messages\"")),
    });
    let ids = ids.await?;
    let longest = LONGEST.min(app.facts.window);
    if ids.is_empty() || ids.len() > longest {
        return Err(Problem::bad(format!("the text has {} tokens; give 1 to {longest}", ids.len())));
    }
    spent.prompt(ids.len());
    let inspection = app.worker.inspect(ids.clone(), top).await?;
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
    Ok(ok(&value.await?))
}
