//! Parses one line of a JSONL file as a rating, or as a prompt to rate.

use serde_json::{Map, Value, json};

use super::{
    prompt::{self, Prompt},
    rating::{Answer, Rating, Verdict, check_answers},
    tally::{Mistake, Refusal},
    transcript,
};

/// A prompt to rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The prompt.
    pub prompt: Prompt,
    /// Existing answers; empty if a model is to write them.
    pub answers: Vec<Answer>,
}

/// Parses `{"prompt", "answers"}`, the latter optional: strings, or objects with "text" and optionally "model" and
/// "sampling".
///
/// # Errors
/// Returns a [`Refusal`].
pub fn task(line: &[u8]) -> Result<Task, Refusal> {
    let object = object(line)?;
    let prompt = Prompt::from_json(field(&object, "prompt")?)?;
    let answers = match object.get("answers") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => answers(&object)?,
    };
    if !answers.is_empty() {
        check_answers(&answers)?;
    }
    Ok(Task { prompt, answers })
}

/// Parses a prompt with at least one answer, ignoring any verdict: `{"prompt", "answer"}`, `{"prompt", "answers"}`, or
/// a pair.
pub(super) fn answered(line: &[u8]) -> Result<Task, Refusal> {
    let object = object(line)?;
    let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    let (prompt, answers) = if has("chosen") && has("rejected") {
        let (prompt, chosen, rejected) = pair(&object)?;
        (prompt, vec![chosen, rejected])
    } else {
        let prompt = Prompt::from_json(field(&object, "prompt")?)?;
        let one = || Ok(vec![Answer::text(answer_text(field(&object, "answer")?, "answer")?)]);
        (prompt, if has("answer") { one()? } else { answers(&object)? })
    };
    check_answers(&answers)?;
    Ok(Task { prompt, answers })
}

/// Parses a rating in one of the forms listed at [`super::read::read`]. `rater` is used if the line does not name one.
pub(super) fn rating(line: &[u8], rater: &str) -> Result<Rating, Refusal> {
    let object = object(line)?;
    let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    let (prompt, answers, verdict) = if has("kind") {
        whole(&object)?
    } else if has("chosen") && has("rejected") {
        let (prompt, chosen, rejected) = pair(&object)?;
        (prompt, vec![chosen, rejected], Verdict::Ranking(vec![1, 2]))
    } else if has("answers") && has("best") {
        let best = field(&object, "best")?;
        let best = best.as_u64().and_then(|best| usize::try_from(best).ok());
        let best = best.ok_or_else(|| wrong("best", "the number of an answer, from 0"))?;
        (Prompt::from_json(field(&object, "prompt")?)?, answers(&object)?, Verdict::Best(best))
    } else if has("answer") && object.contains_key("score") {
        let score = match field(&object, "score")? {
            Value::Number(score) => score.as_f64().unwrap_or(f64::NAN),
            other => return Err(Refusal::new(Mistake::NotFinite, other.to_string())),
        };
        let answer = answer_text(field(&object, "answer")?, "answer")?;
        let answer = Answer { model: text(&object, "model"), ..Answer::text(answer) };
        (Prompt::from_json(field(&object, "prompt")?)?, vec![answer], Verdict::Scores(vec![Some(score)]))
    } else {
        let names: Vec<_> = object.keys().map(String::as_str).collect();
        let detail = format!(
            "it has {names:?}; known are prompt, chosen, rejected; chosen, rejected; prompt, answer, score; prompt, answers, best"
        );
        return Err(Refusal::new(Mistake::UnknownForm, detail));
    };
    let rater = text(&object, "rater").filter(|name| !name.trim().is_empty()).unwrap_or_else(|| rater.to_string());
    // A time that does not fit in an i64 is not a valid time.
    let time = object.get("time").and_then(Value::as_u64).filter(|time| i64::try_from(*time).is_ok());
    Rating::new(prompt, answers, verdict, rater, time)
}

impl Rating {
    /// The complete rating as a line of JSONL; importing it restores everything.
    pub fn to_json(&self) -> Value {
        let values = self.verdict().values(self.answers().len());
        let answer = |(answer, value): (&Answer, Option<f64>)| {
            let mut object = json!({ "text": answer.text, "value": value });
            let more = [("model", answer.model.clone().map(Value::String)), ("sampling", answer.sampling.clone())];
            more.into_iter().for_each(|(name, value)| {
                if let Some(value) = value {
                    object[name] = value;
                }
            });
            object
        };
        let answers: Vec<_> = self.answers().iter().zip(values).map(answer).collect();
        let mut line = json!({
            "kind": self.verdict().kind(), "prompt": self.prompt().to_json(), "answers": answers, "rater": self.rater,
        });
        if let Some(time) = self.time {
            line["time"] = json!(time);
        }
        line
    }
}

fn whole(object: &Map<String, Value>) -> Result<(Prompt, Vec<Answer>, Verdict), Refusal> {
    let values = field(object, "answers")?.as_array().into_iter().flatten();
    let values: Vec<_> = values.map(|answer| answer.get("value").and_then(Value::as_f64)).collect();
    let kind = text(object, "kind").ok_or_else(|| wrong("kind", "a string"))?;
    let verdict = Verdict::from_values(&kind, &values)?;
    Ok((Prompt::from_json(field(object, "prompt")?)?, answers(object)?, verdict))
}

/// With a "prompt", "chosen" and "rejected" are answers; without one they are two conversations with a common
/// beginning.
fn pair(object: &Map<String, Value>) -> Result<(Prompt, Answer, Answer), Refusal> {
    let (chosen, rejected) = (field(object, "chosen")?, field(object, "rejected")?);
    if let Some(prompt) = object.get("prompt").filter(|prompt| !prompt.is_null()) {
        let (chosen, rejected) = (answer_text(chosen, "chosen")?, answer_text(rejected, "rejected")?);
        return Ok((Prompt::from_json(prompt)?, Answer::text(chosen), Answer::text(rejected)));
    }
    let turns = |value: &Value, name| match value {
        Value::String(text) => transcript::parse(text),
        other => prompt::messages(other, name),
    };
    let (prompt, chosen, rejected) = transcript::common(turns(chosen, "chosen")?, turns(rejected, "rejected")?)?;
    Ok((prompt, Answer::text(chosen), Answer::text(rejected)))
}

/// A string, or a list of one assistant message, the form that trl writes.
fn answer_text(value: &Value, name: &str) -> Result<String, Refusal> {
    if let Value::String(text) = value {
        return Ok(text.clone());
    }
    match &prompt::messages(value, name)?[..] {
        [only] if only.role == "assistant" => Ok(only.content.clone()),
        [only] => Err(Refusal::new(Mistake::UnknownRole, format!("\"{name}\" is by {:?}", only.role))),
        _ => Err(wrong(name, "a string or a list of one message")),
    }
}

fn answers(object: &Map<String, Value>) -> Result<Vec<Answer>, Refusal> {
    let answer = |value: &Value| match value {
        Value::Object(object) => {
            let sampling = object.get("sampling").filter(|sampling| sampling.is_object()).cloned();
            let said = text(object, "text").ok_or_else(|| wrong("text", "a string"))?;
            Ok(Answer { text: said, model: text(object, "model"), sampling })
        }
        other => answer_text(other, "answers").map(Answer::text),
    };
    let list = field(object, "answers")?.as_array().ok_or_else(|| wrong("answers", "a list"))?;
    list.iter().map(answer).collect()
}

fn object(line: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Refusal::new(Mistake::NotJson, "another JSON value")),
        Err(error) if error.to_string().starts_with("number out of range") => {
            Err(Refusal::new(Mistake::NotFinite, "a number beyond all floats"))
        }
        Err(error) => Err(Refusal::new(Mistake::NotJson, error.to_string())),
    }
}

fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Refusal> {
    object.get(name).ok_or_else(|| Refusal::new(Mistake::WrongField, format!("\"{name}\" is missing")))
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_string)
}

fn wrong(name: &str, expected: &str) -> Refusal {
    Refusal::new(Mistake::WrongField, format!("\"{name}\" is not {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Rating, Mistake> {
        rating(value.to_string().as_bytes(), "file").map_err(|refusal| refusal.mistake)
    }

    #[test]
    fn every_form_is_read() {
        let pair = read(json!({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "rater": "anna"})).unwrap();
        assert_eq!((pair.verdict(), pair.rater.as_str()), (&Verdict::Ranking(vec![1, 2]), "anna"));
        let said = |role: &str, text: &str| json!({"role": role, "content": text});
        let ask = said("user", "Why?");
        let listed = json!({"prompt": [ask], "chosen": [said("assistant", "So.")], "rejected": [said("assistant", "No.")], "rater": "anna"});
        let whole = json!({"chosen": [ask, said("assistant", "So.")], "rejected": [ask, said("assistant", "No.")], "rater": "anna"});
        let transcripts = json!({"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No.", "rater": "anna"});
        for other in [listed, whole, transcripts] {
            assert_eq!(read(other.clone()), Ok(pair.clone()), "{other}");
        }
        let best = read(json!({"prompt": "Why?", "answers": ["a", {"text": "b", "model": "m"}], "best": 1})).unwrap();
        assert_eq!((best.verdict(), best.answers()[1].model.as_deref()), (&Verdict::Best(1), Some("m")));
        let score = read(json!({"prompt": "Why?", "answer": "a", "score": -2.5, "time": 7})).unwrap();
        assert_eq!((score.verdict(), score.time), (&Verdict::Scores(vec![Some(-2.5)]), Some(7)));
        for rating in [pair, best, score] {
            assert_eq!(read(rating.to_json()), Ok(rating));
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        for (value, mistake) in [
            (json!([1]), Mistake::NotJson),
            (json!({"question": "Why?"}), Mistake::UnknownForm),
            (json!({"prompt": "Why?", "chosen": "So.", "rejected": null}), Mistake::UnknownForm),
            (json!({"prompt": "Why?", "chosen": 3, "rejected": "So."}), Mistake::WrongField),
            (json!({"prompt": "Why?", "chosen": "So.", "rejected": "So."}), Mistake::EqualAnswers),
            (json!({"prompt": "Why?", "chosen": "So.", "rejected": " \n"}), Mistake::EmptyAnswer),
            (
                json!({"prompt": [{"role": "robot", "content": "a"}], "chosen": "a", "rejected": "b"}),
                Mistake::UnknownRole,
            ),
            (json!({"prompt": "Why?", "answer": "So.", "score": null}), Mistake::NotFinite),
            (json!({"prompt": "Why?", "answer": "So.", "score": "NaN"}), Mistake::NotFinite),
            (json!({"answer": "So.", "score": 1}), Mistake::WrongField),
            (json!({"prompt": "Why?", "answers": ["a", "b"], "best": 2}), Mistake::WrongVerdict),
            (json!({"prompt": "Why?", "answers": ["a", "b"], "best": -1}), Mistake::WrongField),
            (json!({"prompt": "Why?", "answers": ["a"], "best": 0}), Mistake::AnswerCount),
            (json!({"prompt": "Why?", "answers": ["a", "b"], "kind": "vote"}), Mistake::WrongVerdict),
        ] {
            assert_eq!(read(value.clone()), Err(mistake), "{value}");
        }
        let line = br#"{"prompt": "Why?", "answer": "So.", "score": 1e999}"#;
        assert_eq!(rating(line, "file").unwrap_err().mistake, Mistake::NotFinite);
        assert_eq!(rating(b"\xff", "file").unwrap_err().mistake, Mistake::NotJson);
    }

    #[test]
    fn tasks_with_and_without_answers() {
        assert!(task(br#"{"prompt": "Why?"}"#).unwrap().answers.is_empty());
        assert_eq!(task(br#"{"prompt": "Why?", "answers": ["a", "b"]}"#).unwrap().answers.len(), 2);
        assert_eq!(task(br#"{"prompt": "Why?", "answers": ["a", ""]}"#).unwrap_err().mistake, Mistake::EmptyAnswer);
        assert_eq!(task(br#"{"text": "Why?"}"#).unwrap_err().mistake, Mistake::WrongField);
    }
}
