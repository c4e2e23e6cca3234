//! Parses a JSON record as a rating, or as a prompt to rate.

use chrono::{DateTime, NaiveDate, NaiveTime};
use serde_json::{Map, Value, json};

use super::{
    prompt::{self, Prompt},
    rating::{Answer, Rating, Verdict, check_answers},
    tally::{Mistake, Refusal},
    transcript,
};
use crate::{
    error::counted,
    text::{
        Message,
        data_file::{LONGEST, Unreadable},
        messages,
    },
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
pub fn task(record: &Value) -> Result<Task, Refusal> {
    let (object, system) = object(record)?;
    let prompt = prompt(object, system)?;
    let answers = match object.get("answers") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => answers(&prompt, object)?,
    };
    if !answers.is_empty() {
        check_answers(&answers)?;
    }
    Ok(Task { prompt, answers })
}

/// Parses a prompt with at least one answer, ignoring any verdict: `{"prompt", "answer"}`, `{"prompt", "answers"}`, or
/// a pair.
pub(super) fn answered(record: &Value) -> Result<Task, Refusal> {
    let (object, system) = object(record)?;
    let has = |name: &str| filled(object, name);
    let (prompt, answers) = if has("chosen") && has("rejected") {
        preferred(object, system)?
    } else {
        let prompt = prompt(object, system)?;
        let one = |name| answer_text(&prompt, field(object, name)?, name).map(|text| vec![Answer::text(text)]);
        let answers = match ["answer", "completion"].into_iter().find(|name| has(name)) {
            Some(name) => one(name)?,
            None => answers(&prompt, object)?,
        };
        (prompt, answers)
    };
    check_answers(&answers)?;
    Ok(Task { prompt, answers })
}

/// Parses a rating in one of the forms listed at [`super::read::read`]. `rater` is used if the record does not name one.
pub(super) fn rating(record: &Value, rater: &str) -> Result<Rating, Refusal> {
    let (object, system) = object(record)?;
    let has = |name: &str| filled(object, name);
    let (prompt, answers, verdict) = if has("kind") {
        whole(object, system)?
    } else if has("chosen") && has("rejected") {
        let (prompt, answers) = preferred(object, system)?;
        let ranks = (0..answers.len()).map(|index| if index == 0 { 1 } else { 2 }).collect();
        (prompt, answers, Verdict::Ranking(ranks))
    } else if has("answers") && has("best") {
        let best = field(object, "best")?;
        let best = best.as_u64().and_then(|best| usize::try_from(best).ok());
        let best = best.ok_or_else(|| wrong("best", "the number of an answer, from 0"))?;
        let prompt = prompt(object, system)?;
        let answers = answers(&prompt, object)?;
        (prompt, answers, Verdict::Best(best))
    } else if has("answer") && object.contains_key("score") {
        let score = match field(object, "score")? {
            Value::Number(score) => score.as_f64().unwrap_or(f64::NAN),
            other => return Err(Refusal::new(Mistake::NotFinite, other.to_string())),
        };
        let prompt = prompt(object, system)?;
        let answer = answer_text(&prompt, field(object, "answer")?, "answer")?;
        let answer = Answer { model: text(object, "model"), ..Answer::text(answer) };
        (prompt, vec![answer], Verdict::Scores(vec![Some(score)]))
    } else if has("completion") && has("label") {
        let label = field(object, "label")?;
        let number = || label.as_f64().filter(|label| [0.0, 1.0].contains(label)).map(|label| label == 1.0);
        let label = label.as_bool().or_else(number);
        let good = label.ok_or_else(|| wrong("label", "true or false"))?;
        let prompt = prompt(object, system)?;
        let answer = Answer::text(answer_text(&prompt, field(object, "completion")?, "completion")?);
        (prompt, vec![answer], Verdict::Scores(vec![Some(f64::from(u8::from(good)))]))
    } else {
        let names: Vec<_> = object.keys().map(String::as_str).collect();
        let detail = format!(
            "it has {names:?}; known are prompt, chosen, rejected; chosen, rejected; prompt, answer, score; prompt, answers, best; \
             prompt, completion, label"
        );
        return Err(Refusal::new(Mistake::UnknownForm, detail));
    };
    let rater = text(object, "rater").filter(|name| !name.trim().is_empty()).unwrap_or_else(|| rater.to_string());
    let time = time(object)?;
    Rating::new(prompt, answers, verdict, rater, time)
}

impl Rating {
    /// The complete rating as a line of JSONL; importing it restores everything.
    pub fn to_json(&self) -> Value {
        let values = self.verdict().values(self.answers().len());
        let answer = |(answer, value): (&Answer, Option<f64>)| {
            let mut object =
                Map::from_iter([("text".to_string(), json!(answer.text)), ("value".to_string(), json!(value))]);
            let more = [("model", answer.model.clone().map(Value::String)), ("sampling", answer.sampling.clone())];
            object.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))));
            Value::Object(object)
        };
        let answers: Vec<_> = self.answers().iter().zip(values).map(answer).collect();
        let (kind, prompt) = (self.verdict().kind(), self.prompt().to_json());
        match self.time {
            None => json!({ "kind": kind, "prompt": prompt, "answers": answers, "rater": self.rater }),
            Some(time) => {
                json!({ "kind": kind, "prompt": prompt, "answers": answers, "rater": self.rater, "time": time })
            }
        }
    }
}

fn whole(object: &Map<String, Value>, system: Option<Message>) -> Result<(Prompt, Vec<Answer>, Verdict), Refusal> {
    let values = field(object, "answers")?.as_array().into_iter().flatten();
    let values: Vec<_> = values.map(|answer| answer.get("value").and_then(Value::as_f64)).collect();
    let kind = text(object, "kind").ok_or_else(|| wrong("kind", "a string"))?;
    let verdict = Verdict::from_values(&kind, &values)?;
    let prompt = prompt(object, system)?;
    let answers = answers(&prompt, object)?;
    Ok((prompt, answers, verdict))
}

/// The prompt of a record: `"prompt"` or, as some data sets call it, `"question"`, after the `system` message if there is one.
fn prompt(object: &Map<String, Value>, system: Option<Message>) -> Result<Prompt, Refusal> {
    let name = if !filled(object, "prompt") && filled(object, "question") { "question" } else { "prompt" };
    after(system, Prompt::from_json(field(object, name)?)?)
}

/// A prompt after a system message.
fn after(system: Option<Message>, prompt: Prompt) -> Result<Prompt, Refusal> {
    match system {
        Some(system) => Prompt::conversation([&[system], prompt.messages()].concat()),
        None => Ok(prompt),
    }
}

fn filled(object: &Map<String, Value>, name: &str) -> bool {
    object.get(name).is_some_and(|value| !value.is_null())
}

/// The prompt of a preference, the chosen answer, and the rejected one, or several. With a prompt, "chosen" and "rejected" are
/// answers to it; without one they are two conversations with a common beginning.
fn preferred(object: &Map<String, Value>, system: Option<Message>) -> Result<(Prompt, Vec<Answer>), Refusal> {
    let (chosen, rejected) = (field(object, "chosen")?, field(object, "rejected")?);
    if filled(object, "prompt") || filled(object, "question") {
        let prompt = prompt(object, system)?;
        let several = rejected.as_array().filter(|list| list.iter().all(|one| one.is_string() || one.is_array()));
        let rejected = several.map_or(std::slice::from_ref(rejected), Vec::as_slice).iter();
        let answers = std::iter::once((chosen, "chosen")).chain(rejected.map(|one| (one, "rejected")));
        let answers = answers.map(|(value, name)| answer_text(&prompt, value, name).map(Answer::text));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        return Ok((prompt, answers));
    }
    let turns = |value: &Value, name| match value {
        Value::String(text) => transcript::parse(text),
        other => prompt::messages(other, name),
    };
    let (prompt, chosen, rejected) = transcript::common(turns(chosen, "chosen")?, turns(rejected, "rejected")?)?;
    Ok((after(system, prompt)?, vec![Answer::text(chosen), Answer::text(rejected)]))
}

/// An answer to `prompt`: a string, an object with a "text" or a "content", a list of one assistant message (the form that trl
/// writes), or the whole conversation.
fn answer_text(prompt: &Prompt, value: &Value, name: &str) -> Result<String, Refusal> {
    match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Object(object) if !object.contains_key("role") => {
            messages::refuse_meaning(value).map_err(|unclear| prompt::refusal(unclear, name))?;
            let said = text(object, "text").or_else(|| text(object, "content"));
            return said.ok_or_else(|| wrong(name, "a string, or an object with a \"text\""));
        }
        _ => {}
    }
    let list = if value.is_object() { &Value::Array(vec![value.clone()]) } else { value };
    let mut turns = prompt::messages(list, name)?;
    match turns.pop() {
        None => return Err(wrong(name, "a string or a list of messages")),
        Some(last) if last.role != "assistant" => {
            return Err(Refusal::new(Mistake::UnknownRole, format!("\"{name}\" is by {:?}", last.role)));
        }
        // A conversation may leave out the system message, and a prompt that is a text is its last question.
        Some(last) if prompt.messages().ends_with(&turns) => return Ok(last.content),
        Some(_) => {}
    }
    Err(Refusal::new(
        Mistake::NoCommonPrompt,
        format!("\"{name}\" has {} before its last answer", counted(turns.len(), "message")),
    ))
}

fn answers(prompt: &Prompt, object: &Map<String, Value>) -> Result<Vec<Answer>, Refusal> {
    let answer = |value: &Value| match value {
        Value::Object(object) if object.contains_key("text") => {
            let sampling = object.get("sampling").filter(|sampling| sampling.is_object()).cloned();
            let said = text(object, "text").ok_or_else(|| wrong("text", "a string"))?;
            Ok(Answer { text: said, model: text(object, "model"), sampling })
        }
        other => answer_text(prompt, other, "answers").map(Answer::text),
    };
    let list = field(object, "answers")?.as_array().ok_or_else(|| wrong("answers", "a list"))?;
    list.iter().map(answer).collect()
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::TooLong => Self::new(Mistake::TooLong, format!("more than {LONGEST} bytes")),
            Unreadable::NotJson(error) if error.starts_with("number out of range") => {
                Self::new(Mistake::NotFinite, "a number beyond all floats")
            }
            Unreadable::NotJson(error) => Self::new(Mistake::NotJson, error),
        }
    }
}

/// The fields of a record, and the system message among them.
fn object(record: &Value) -> Result<(&Map<String, Value>, Option<Message>), Refusal> {
    let object = record.as_object().ok_or_else(|| Refusal::new(Mistake::NotJson, "another JSON value"))?;
    let system = messages::system(record).map_err(|unclear| prompt::refusal(unclear, "system"))?;
    Ok((object, system))
}

/// When a rating was given, in milliseconds since 1970: such a number, or a date with or without a time of day.
fn time(object: &Map<String, Value>) -> Result<Option<u64>, Refusal> {
    let found = match object.get("time") {
        None | Some(Value::Null) => return Ok(None),
        // A time that does not fit in an i64 is not a valid time.
        Some(Value::Number(number)) => number.as_u64().filter(|time| i64::try_from(*time).is_ok()),
        Some(Value::String(text)) => {
            let moment = DateTime::parse_from_rfc3339(text).map(|moment| moment.timestamp_millis());
            let day = || text.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc().timestamp_millis());
            moment.or_else(|_| day()).ok().and_then(|time| u64::try_from(time).ok())
        }
        Some(_) => None,
    };
    found.map(Some).ok_or_else(|| wrong("time", "milliseconds since 1970 or a date"))
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
        rating(&value, "file").map_err(|refusal| refusal.mistake)
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

    /// The layouts of data sets that many people train on.
    #[test]
    fn published_layouts_are_read() {
        let said = |role: &str, text: &str| json!({"role": role, "content": text});
        let (ask, good, bad) = (said("user", "Why?"), said("assistant", "So."), said("assistant", "No."));
        let pair = read(json!({"prompt": "Why?", "chosen": "So.", "rejected": "No."})).unwrap();
        for other in [
            // A text as prompt beside whole conversations, as in ultrafeedback_binarized.
            json!({"prompt": "Why?", "chosen": [ask, good], "rejected": [ask, bad], "score_chosen": 8.0, "score_rejected": 3.5}),
            // trl, conversational, with an explicit prompt.
            json!({"prompt": [ask], "chosen": [good], "rejected": [bad]}),
            json!({"chosen": [ask, good], "rejected": [ask, bad]}),
            json!({"prompt": "Why?", "chosen": good, "rejected": bad}),
            json!({"prompt": "Why?", "chosen": {"text": "So."}, "rejected": {"content": "No."}}),
            json!({"question": "Why?", "chosen": "So.", "rejected": "No."}),
            json!({"prompt": null, "question": "Why?", "chosen": "So.", "rejected": "No."}),
        ] {
            assert_eq!(read(other.clone()), Ok(pair.clone()), "{other}");
        }
        let system =
            read(json!({"system": "Be terse.", "question": "Why?", "chosen": "So.", "rejected": "No."})).unwrap();
        assert_eq!(system.prompt().messages(), [Message::new("system", "Be terse."), Message::new("user", "Why?")]);
        let several = read(json!({"prompt": "Why?", "chosen": "So.", "rejected": ["No.", "Oh."]})).unwrap();
        assert_eq!((several.verdict(), several.answers().len()), (&Verdict::Ranking(vec![1, 2, 2]), 3));
        let system = read(json!({"system": "Be terse.", "chosen": [ask, good], "rejected": [ask, bad]})).unwrap();
        assert_eq!(system.prompt().messages().len(), 2);
        for (time, expected) in
            [(json!("2024-02-29T12:34:56+00:00"), 1_709_210_096_000), (json!("2024-02-29"), 1_709_164_800_000)]
        {
            let timed = read(json!({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "time": time})).unwrap();
            assert_eq!(timed.time, Some(expected));
        }
        for (label, score) in [(json!(true), 1.0), (json!(false), 0.0), (json!(1), 1.0), (json!(0.0), 0.0)] {
            let labelled = read(json!({"prompt": [ask], "completion": [good], "label": label})).unwrap();
            assert_eq!(labelled.verdict(), &Verdict::Scores(vec![Some(score)]));
        }
        let asked = task(&json!({"question": "Why?", "answers": ["So.", "No."]})).unwrap();
        assert_eq!((asked.prompt.last(), asked.answers.len()), ("Why?", 2));
    }

    #[test]
    fn mistakes_are_told_apart() {
        for (value, mistake) in [
            (json!([1]), Mistake::NotJson),
            (json!({"question": "Why?"}), Mistake::UnknownForm),
            (json!({"prompt": "Why?", "chosen": "So.", "rejected": null}), Mistake::UnknownForm),
            (json!({"prompt": "Why?", "chosen": 3, "rejected": "So."}), Mistake::WrongField),
            (
                json!({"prompt": "Why?", "chosen": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}], "rejected": "No."}),
                Mistake::NoCommonPrompt,
            ),
            (
                json!({"prompt": "Why?", "chosen": {"role": "assistant", "content": "So.", "tool_calls": [1]}, "rejected": "No."}),
                Mistake::Meaning,
            ),
            (
                json!({"prompt": "Why?", "chosen": {"text": "So.", "tool_calls": [1]}, "rejected": "No."}),
                Mistake::Meaning,
            ),
            (json!({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "tools": [1]}), Mistake::Meaning),
            (json!({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "system": ["a"]}), Mistake::WrongField),
            (json!({"prompt": "Why?", "chosen": "So.", "rejected": "No.", "time": "yesterday"}), Mistake::WrongField),
            (json!({"prompt": "Why?", "completion": "So.", "label": "good"}), Mistake::WrongField),
            (json!({"question": 3, "chosen": "So.", "rejected": "No."}), Mistake::WrongField),
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
        let refusal = |bytes: &[u8]| {
            Refusal::from(Unreadable::NotJson(serde_json::from_slice::<Value>(bytes).unwrap_err().to_string()))
        };
        assert_eq!(refusal(line).mistake, Mistake::NotFinite);
        assert_eq!(refusal(b"\xff").mistake, Mistake::NotJson);
    }

    #[test]
    fn tasks_with_and_without_answers() {
        assert!(task(&json!({"prompt": "Why?"})).unwrap().answers.is_empty());
        assert_eq!(task(&json!({"prompt": "Why?", "answers": ["a", "b"]})).unwrap().answers.len(), 2);
        assert_eq!(task(&json!({"prompt": "Why?", "answers": ["a", ""]})).unwrap_err().mistake, Mistake::EmptyAnswer);
        assert_eq!(task(&json!({"text": "Why?"})).unwrap_err().mistake, Mistake::WrongField);
    }
}
