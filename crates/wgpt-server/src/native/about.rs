//! `/wgpt/about`: the model, the GPU, and the available features.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde_json::json;

use crate::{app::App, problem::ok};

/// Reports them.
pub async fn about(State(app): State<Arc<App>>) -> Response {
    let config = &app.facts.config;
    let [name, backend, driver] = &app.facts.gpu;
    let adapters: Vec<_> = app.models.iter().skip(1).map(|model| model.name.as_str()).collect();
    ok(&json!({
        "model": app.models[0].name, "parameters": app.facts.parameters, "context": app.facts.window,
        "vocabulary": config.vocabulary, "layers": config.layers, "heads": config.heads, "adapters": adapters,
        "adapter": { "name": name, "backend": backend, "driver": driver }, "reward": app.facts.reward,
        "chats": app.models[0].template.is_some(), "version": env!("CARGO_PKG_VERSION"),
    }))
}
