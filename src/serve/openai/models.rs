//! `/v1/models`

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use serde_json::{Value, json};

use crate::serve::{
    app::{App, Voice},
    problem::{Problem, ok},
};

fn model(app: &App, voice: &Voice) -> Value {
    let parent = voice.adapter.is_some().then(|| app.voices[0].name.clone());
    json!({ "id": voice.name, "object": "model", "created": app.created, "owned_by": "wgpt", "parent": parent })
}

/// The model and its adapters.
pub async fn list(State(app): State<Arc<App>>) -> Response {
    let data: Vec<_> = app.voices.iter().map(|voice| model(&app, voice)).collect();
    ok(&json!({ "object": "list", "data": data }))
}

/// One of them.
///
/// # Errors
/// 404.
pub async fn one(State(app): State<Arc<App>>, name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| Problem::bad("the model's name is not UTF-8"))?;
    let voice = app.voice(Some(&name))?;
    Ok(ok(&model(&app, &voice)))
}
