//! `/wgpt/feedback`: statistics of the ratings, the newest ones, and an export of all.

use std::{collections::VecDeque, io::Read, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};
use serde_json::{Value, json};

use super::rate::verdict_json;
use crate::{
    app::App,
    feedback::{
        Store,
        agreement::Statistics,
        export::{self, Format},
    },
    pieces::pieces,
    problem::{Problem, ok},
};
use wgpt::{Error, feedback::Rating};

/// Number of newest ratings shown.
const RECENT: usize = 50;

/// Bytes of an export that are sent at a time.
const PIECE: usize = 64 << 10;

/// Opens the database for reading, which does not block its writers; [`None`] before the first rating.
fn open(app: &App) -> Result<Option<Store>, Problem> {
    match app.feedback.exists() {
        true => Ok(Some(Store::open(&app.feedback)?)),
        false => Ok(None),
    }
}

/// Counts, agreement, and the newest ratings.
///
/// # Errors
/// 500 if the database cannot be read.
pub async fn overview(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let value = App::aside(move || {
        let store = open(&app)?;
        let all = store.as_ref().map_or_else(|| Ok(Statistics::default()), Store::statistics)?;
        let mut recent = VecDeque::with_capacity(RECENT);
        if let Some(store) = &store {
            store.each(|stored| {
                if let Ok(rating) = &stored.rating {
                    recent.truncate(RECENT - 1);
                    recent.push_front(shown(rating));
                }
                Ok(())
            })?;
        }
        let raters = all.raters.iter().map(|(rater, count)| json!({ "rater": rater, "ratings": count }));
        Ok(json!({
            "ratings": all.ratings, "by_rater": raters.collect::<Vec<_>>(), "by_kind": all.kinds,
            "by_model": all.models, "agreement": all.agreement, "recent": recent,
        }))
    });
    Ok(ok(&value.await?))
}

fn shown(rating: &Rating) -> Value {
    let answers: Vec<_> = rating.answers().iter().map(|answer| answer.text.as_str()).collect();
    json!({
        "prompt": rating.prompt().to_json(), "answers": answers, "verdict": verdict_json(rating.verdict()),
        "rater": rating.rater, "time": rating.time,
    })
}

/// All ratings as JSONL; the query parameter `format` is one of the formats of `wgpt feedback export`.
///
/// # Errors
/// 400 for an unknown format.
pub async fn export(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let query = request.uri().query().unwrap_or("");
    let name = query.split('&').find_map(|pair| pair.strip_prefix("format=")).unwrap_or("pairs").to_string();
    let format = match name.as_str() {
        "pairs" => Format::Pairs,
        "scores" => Format::Scores,
        "best-of" => Format::BestOf,
        "hh-rlhf" => Format::HhRlhf,
        "ratings" => Format::Ratings,
        _ => return Err(Problem::field("format", "must be pairs, scores, best-of, hh-rlhf or ratings")),
    };
    let lines = App::aside(move || {
        let Some(store) = open(&app)? else { return Ok(None) };
        let folder = tempfile::tempdir().map_err(Error::system("make a temporary folder"))?;
        let path = folder.path().join("export.jsonl");
        export::export(&store, &path, format)?;
        // The file goes with its folder, or lasts until it is closed.
        Ok(Some((std::fs::File::open(&path).map_err(Error::io(&path, "read"))?, folder)))
    });
    let mut lines = lines.await?;
    let parts = std::iter::from_fn(move || {
        let mut piece = vec![0; PIECE];
        match lines.as_mut()?.0.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some(Ok(piece))
            }
            Err(error) => Some(Err(error)),
        }
    });
    let mut response = pieces("application/jsonl", parts);
    let headers = response.headers_mut();
    if let Ok(file) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.jsonl\"")) {
        headers.insert(header::CONTENT_DISPOSITION, file);
    }
    Ok(response)
}
