//! `/wgpt/reward`: the reward model's scores of answers.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    openai::chat,
    problem::{Problem, ok},
    router::{self, Asked},
    worker::NO_REWARD,
};

/// Maximum number of answers per request.
const MOST: usize = 64;

/// The reward of each of `answers` to `messages`.
///
/// # Errors
/// 400 if no reward model is loaded, or if the messages are not a conversation.
pub async fn reward(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let Asked { fields, .. } = router::asked(&app, request).await?;
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
    Ok(ok(&json!({ "rewards": app.worker.reward(texts).await? })))
}
