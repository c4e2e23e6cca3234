//! `/tokenize`: a text as the model's tokens.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::token;
use crate::{
    app::App,
    problem::{Problem, ok},
    router::{self, Asked},
};

/// The tokens of `text`, including what the model puts before a text. Special tokens are recognised by name.
///
/// # Errors
/// 400 for a text that the tokenizer cannot encode.
pub async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let Asked { fields, .. } = router::asked(&app, request).await?;
    let model = app.model(fields.text("model")?)?;
    let missing = || Problem::field("text", "is missing");
    let text = fields.text("text")?.ok_or_else(missing)?.to_string();
    let tokens = App::aside(move || {
        let ids = model.codec.read(&text)?;
        Ok(ids.into_iter().map(|id| token(&model.codec.tokenizer, id)).collect::<Vec<Value>>())
    });
    Ok(ok(&json!({ "tokens": tokens.await? })))
}
