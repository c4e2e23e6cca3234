//! `/v1/models`

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    app::{App, ServedModel},
    problem::{Problem, ok},
};

fn described(app: &App, model: &ServedModel) -> Value {
    let parent = model.adapter.is_some().then(|| app.models[0].name.clone());
    json!({ "id": model.name, "object": "model", "created": app.created, "owned_by": "wgpt", "parent": parent })
}

/// The model and its adapters.
pub async fn list(State(app): State<Arc<App>>) -> Response {
    let data: Vec<_> = app.models.iter().map(|model| described(&app, model)).collect();
    ok(&json!({ "object": "list", "data": data }))
}

/// One of the models.
///
/// # Errors
/// 404.
pub async fn one(State(app): State<Arc<App>>, name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| Problem::bad("the model's name is not UTF-8"))?;
    let model = app.model(Some(&name))?;
    Ok(ok(&described(&app, &model)))
}
