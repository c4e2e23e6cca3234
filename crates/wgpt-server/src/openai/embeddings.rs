//! `/v1/embeddings`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::options::IGNORED;
use crate::{
    app::{App, ServedModel},
    base64,
    input::Fields,
    pieces::pieces,
    problem::Problem,
    router::{self, ReadRequest},
};

/// Maximum number of texts in a request, the same as OpenAI's.
const MOST: usize = 2048;

/// The embeddings of texts, scaled to length 1.
///
/// # Errors
/// A [`Problem`] in OpenAI's shape.
pub async fn embed(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ReadRequest { fields, spent, client } = router::asked(&app, request).await?;
    let model = app.model(fields.text("model")?)?;
    if model.adapter.is_some() {
        return Err(Problem::field("model", "adapters have no embeddings; use the model itself"));
    }
    fields.refuse_others(&[&["model", "input", "encoding_format", "dimensions"], IGNORED])?;
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Problem::field("encoding_format", "must be float or base64")),
    };
    let width = app.facts.config.width;
    if fields.integer("dimensions", 1..=u64::MAX)?.is_some_and(|dimensions| dimensions != width as u64) {
        return Err(Problem::field(
            "dimensions",
            format!("the model's vectors have {width} dimensions, which cannot be reduced"),
        ));
    }
    let window = app.facts.window;
    let (reader, vocabulary) = (model.clone(), app.facts.config.vocabulary);
    let texts = App::aside(move || texts(&reader, fields.need("input")?, vocabulary)).await?;
    // A text is one forward pass, limited in length so that it does not delay other requests for long.
    if let Some(long) = texts.iter().map(Vec::len).find(|length| *length > window) {
        let reason = format!("a text of {long} tokens does not fit in the context of {window}; give shorter texts");
        let problem = Problem::new(axum::http::StatusCode::BAD_REQUEST, "context_length_exceeded", reason);
        return Err(Problem { param: Some("input".to_string()), ..problem });
    }
    let place = app.worker.place(client.0)?;
    let held = app.memory.answer(texts.len() * width * size_of::<f32>(), "input")?;
    let mut vectors = Vec::with_capacity(texts.len());
    let mut count = 0;
    // One after the other, so that texts being generated continue in between.
    for text in texts {
        count += text.len();
        vectors.push(app.worker.embed(&place, text).await?);
    }
    spent.prompt(count);
    let usage = json!({ "prompt_tokens": count, "total_tokens": count });
    let end = format!("],\"model\":{},\"usage\":{usage}}}", json!(model.name));
    // Numbers as text take several times as much, so they are written while the client reads.
    let entry = move |(index, vector): (usize, Vec<f32>)| {
        let _held = &held;
        let embedding = match base64 {
            true => json!(base64::encode(bytemuck::cast_slice(&vector))).to_string(),
            false => serde_json::to_string(&vector)?,
        };
        let comma = if index > 0 { "," } else { "" };
        Ok(format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{embedding}}}").into_bytes())
    };
    let begin = std::iter::once(Ok(b"{\"object\":\"list\",\"data\":[".to_vec()));
    let entries = vectors.into_iter().enumerate().map(entry);
    Ok(pieces("application/json", begin.chain(entries).chain(std::iter::once(Ok(end.into_bytes())))))
}

/// Reads `input`: a text, a list of texts, a list of tokens, or a list of lists of tokens.
fn texts(model: &ServedModel, value: &Value, vocabulary: usize) -> Result<Vec<Vec<u32>>, Problem> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(model.codec.read(text)?),
        Value::Array(ids) => Fields::ids("input", ids, vocabulary),
        _ => Err(Problem::field("input", "must be a text, tokens, or a list of either")),
    };
    let texts = match value {
        Value::Array(list) if list.len() > MOST && !list.iter().all(Value::is_number) => {
            return Err(Problem::field("input", format!("has {} texts; give at most {MOST}", list.len())));
        }
        Value::Array(list) if !list.iter().all(Value::is_number) => list.iter().map(one).collect::<Result<_, _>>()?,
        value => vec![one(value)?],
    };
    match texts.iter().any(Vec::is_empty) {
        true => Err(Problem::field("input", "contains an empty text, which has no embedding")),
        false => Ok(texts),
    }
}
