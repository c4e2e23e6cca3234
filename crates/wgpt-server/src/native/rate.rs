//! `/wgpt/rate`: stores a rating in the database.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    app::App,
    feedback::now,
    input::Fields,
    problem::{Problem, ok},
    router::{self, ReadRequest},
};
use wgpt::feedback::{Answer, Prompt, Rating, Refusal, Verdict};

/// Maximum length of a rater's or model's name in characters.
const NAME: usize = 200;

/// Stores `{"messages", "answers": [{"text", "sampling", "model"}], "verdict", "rater"}`.
///
/// # Errors
/// 400 for an invalid rating.
pub async fn rate(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ReadRequest { fields, .. } = router::asked(&app, request).await?;
    let rating = read(&fields, &app.models[0].name)?;
    drop(fields);
    let (id, new) = app.store.keep(rating).await?;
    Ok(ok(&json!({ "stored": true, "new": new, "id": id })))
}

fn read(fields: &Fields, model: &str) -> Result<Rating, Problem> {
    let refused = |refusal: Refusal| Problem::bad(refusal.to_string());
    let prompt = Prompt::from_json(fields.need("messages")?).map_err(refused)?;
    let wrong = || Problem::field("answers", "must be a list of {\"text\"}");
    let answer = |value: &Value| {
        let text = value.get("text").and_then(Value::as_str).ok_or_else(wrong)?;
        let named = value.get("model").and_then(Value::as_str).filter(|name| name.chars().count() <= NAME);
        let sampling = value.get("sampling").filter(|sampling| sampling.is_object()).cloned();
        Ok(Answer { text: text.to_string(), model: Some(named.unwrap_or(model).to_string()), sampling })
    };
    let answers = fields.list("answers")?.iter().map(answer).collect::<Result<Vec<_>, Problem>>()?;
    let rater = fields.text("rater")?.map(str::trim).filter(|name| !name.is_empty()).unwrap_or("anonymous");
    if rater.chars().count() > NAME {
        return Err(Problem::field("rater", format!("is longer than {NAME} characters")));
    }
    Rating::new(prompt, answers, verdict(fields.need("verdict")?)?, rater, Some(now())).map_err(refused)
}

/// `{"best": 0}`, `{"scores": [5, null]}`, `{"ranking": [1, 2]}` or `{"skip": true}`.
fn verdict(value: &Value) -> Result<Verdict, Problem> {
    let wrong = || {
        let forms = "must be {\"best\": 0}, {\"scores\": [5]}, {\"ranking\": [1, 2]} or {\"skip\": true}";
        Problem::field("verdict", forms)
    };
    let list = |name: &str| value.get(name).and_then(Value::as_array);
    if let Some(best) = value.get("best") {
        return best.as_u64().map(|best| Verdict::Best(best as usize)).ok_or_else(wrong);
    }
    if let Some(scores) = list("scores") {
        let score = |score: &Value| match score {
            Value::Null => Ok(None),
            score => score.as_f64().map(Some).ok_or_else(wrong),
        };
        return Ok(Verdict::Scores(scores.iter().map(score).collect::<Result<_, _>>()?));
    }
    if let Some(ranks) = list("ranking") {
        let rank = |rank: &Value| rank.as_u64().and_then(|rank| u32::try_from(rank).ok()).ok_or_else(wrong);
        return Ok(Verdict::Ranking(ranks.iter().map(rank).collect::<Result<_, _>>()?));
    }
    if value.get("skip").and_then(Value::as_bool) == Some(true) { Ok(Verdict::Skip) } else { Err(wrong()) }
}

/// The inverse of `verdict`, for the page.
pub(super) fn verdict_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Best(best) => json!({ "best": best }),
        Verdict::Scores(scores) => json!({ "scores": scores }),
        Verdict::Ranking(ranks) => json!({ "ranking": ranks }),
        Verdict::Skip => json!({ "skip": true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_go_both_ways() {
        for value in
            [json!({"best": 1}), json!({"scores": [5.0, null]}), json!({"ranking": [2, 1]}), json!({"skip": true})]
        {
            assert_eq!(verdict_json(&verdict(&value).unwrap()), value);
        }
        for wrong in [json!({}), json!({"best": -1}), json!({"scores": ["a"]}), json!({"ranking": [1.5]}), json!(5)] {
            assert!(verdict(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ratings_carry_model_sampling_and_rater() {
        let read = |text: &str| read(&Fields::parse(text.as_bytes()).unwrap(), "tiny");
        let rating = read(
            r#"{"messages": [{"role": "user", "content": "Why?"}], "rater": " anna ", "verdict": {"best": 0},
                "answers": [{"text": "So.", "sampling": {"temperature": 0.8}}, {"text": "No.", "model": "other"}]}"#,
        )
        .unwrap();
        let answers = rating.answers();
        assert_eq!((rating.rater.as_str(), answers[0].model.as_deref()), ("anna", Some("tiny")));
        assert_eq!(
            (answers[1].model.as_deref(), &answers[0].sampling),
            (Some("other"), &Some(json!({"temperature": 0.8})))
        );
        assert!(rating.time.is_some());
        let one = r#""messages": [{"role": "user", "content": "Why?"}], "answers": [{"text": "So."}]"#;
        assert!(read(&format!("{{{one}, \"verdict\": {{\"scores\": [1]}}}}")).is_ok());
        for wrong in [r#""verdict": {"best": 0}"#, r#""verdict": {"scores": [1, 2]}"#, r#""rater": "a""#] {
            assert!(read(&format!("{{{one}, {wrong}}}")).is_err(), "{wrong}");
        }
    }
}
