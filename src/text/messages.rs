//! Messages in data: a list of `{"role", "content"}`, read the same way wherever data has one. What would change the meaning of
//! a message and is not understood makes it unreadable; it is never ignored.

use serde_json::Value;

use super::Message;

/// Fields of a message that change what it means and that a text cannot express.
const OF_MESSAGES: &[&str] = &[
    "audio",
    "function_call",
    "images",
    "name",
    "prefix",
    "reasoning",
    "reasoning_content",
    "refusal",
    "thinking",
    "tool_call_id",
    "tool_calls",
    "videos",
];

/// The same of a record with messages or with a prompt. There, other fields are labels.
const OF_RECORDS: &[&str] = &["audio", "chat_template_kwargs", "functions", "images", "tools", "videos"];

/// Why messages cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unclear {
    /// They are not a list of objects.
    NoList,
    /// A role other than system, user and assistant.
    Role(String),
    /// A content that is not a text; its beginning.
    Content(String),
    /// A field that changes the meaning, by name.
    Field(&'static str),
    /// A weight other than 0 and 1; its value.
    Weight(String),
}

/// A message of a conversation to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The message.
    pub message: Message,
    /// Whether it is learned if it is an answer: `"weight": 0` says that it is not.
    pub learned: bool,
}

/// Reads a list of messages. A content is a text, or a list of parts `{"type": "text", "text": ..}`, which are joined; no
/// content is an empty text.
///
/// # Errors
/// Why they cannot be read.
pub fn turns(value: &Value) -> Result<Vec<Turn>, Unclear> {
    value.as_array().ok_or(Unclear::NoList)?.iter().map(turn).collect()
}

/// The system message that a record names beside its messages or its prompt. Refuses a record that has anything in a field that
/// changes the meaning and that a text cannot express.
///
/// # Errors
/// [`Unclear::Field`]; [`Unclear::Content`] for a system message that is not a text.
pub fn system(record: &Value) -> Result<Option<Message>, Unclear> {
    refuse(record, OF_RECORDS)?;
    match &record["system"] {
        Value::Null => Ok(None),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => Ok(Some(Message::new("system", text))),
        other => Err(Unclear::Content(beginning(other))),
    }
}

/// Refuses a message that has anything in a field that changes its meaning and that a text cannot express.
///
/// # Errors
/// [`Unclear::Field`].
pub fn refuse_meaning(message: &Value) -> Result<(), Unclear> {
    refuse(message, OF_MESSAGES)
}

fn refuse(value: &Value, fields: &[&'static str]) -> Result<(), Unclear> {
    let filled = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        _ => true,
    };
    match fields.iter().find(|name| value.get(**name).is_some_and(filled)) {
        Some(name) => Err(Unclear::Field(name)),
        None => Ok(()),
    }
}

fn turn(value: &Value) -> Result<Turn, Unclear> {
    if !value.is_object() {
        return Err(Unclear::NoList);
    }
    let role = value["role"].as_str().unwrap_or_default();
    if !["system", "user", "assistant"].contains(&role) {
        return Err(Unclear::Role(beginning(&value["role"])));
    }
    refuse_meaning(value)?;
    let learned = match &value["weight"] {
        Value::Null => true,
        Value::Number(weight) if weight.as_f64() == Some(1.0) => true,
        Value::Number(weight) if weight.as_f64() == Some(0.0) => false,
        other => return Err(Unclear::Weight(beginning(other))),
    };
    Ok(Turn { message: Message::new(role, content(&value["content"])?), learned })
}

fn content(value: &Value) -> Result<String, Unclear> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Array(parts) => {
            let text = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
                (Some("text") | None, Some(text)) => Ok(text.to_string()),
                _ => Err(Unclear::Content(beginning(part))),
            };
            parts.iter().map(text).collect()
        }
        other => Err(Unclear::Content(beginning(other))),
    }
}

/// The beginning of a value, for messages to the user.
pub fn beginning(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changes_the_meaning_is_read_or_refused() {
        let said =
            |value: Value| turns(&json!([value])).map(|turns| (turns[0].message.content.clone(), turns[0].learned));
        assert_eq!(said(json!({"role": "user", "content": "Hi", "name": null})), Ok(("Hi".into(), true)));
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(said(json!({"role": "user", "content": parts})), Ok(("ab".into(), true)));
        assert_eq!(said(json!({"role": "assistant", "content": "x", "weight": 0})), Ok(("x".into(), false)));
        assert_eq!(
            said(json!({"role": "assistant", "content": "x", "weight": 1, "tool_calls": []})),
            Ok(("x".into(), true))
        );
        for (value, why) in [
            (json!("Hi"), Unclear::NoList),
            (json!({"from": "human", "value": "Hi"}), Unclear::Role("null".into())),
            (json!({"role": "tool", "content": "4"}), Unclear::Role("tool".into())),
            (json!({"role": "user", "content": 4}), Unclear::Content("4".into())),
            (
                json!({"role": "user", "content": [{"type": "image_url"}]}),
                Unclear::Content(r#"{"type":"image_url"}"#.into()),
            ),
            (json!({"role": "user", "content": "Hi", "name": "Ann"}), Unclear::Field("name")),
            (json!({"role": "assistant", "tool_calls": [{"id": "1"}]}), Unclear::Field("tool_calls")),
            (
                json!({"role": "assistant", "content": "4", "reasoning_content": "2 + 2"}),
                Unclear::Field("reasoning_content"),
            ),
            (json!({"role": "assistant", "content": "4", "weight": 0.5}), Unclear::Weight("0.5".into())),
        ] {
            assert_eq!(said(value.clone()), Err(why), "{value}");
        }
        assert_eq!(turns(&json!({"role": "user"})), Err(Unclear::NoList));
        assert_eq!(
            system(&json!({"system": "Be brief.", "name": "a label"})),
            Ok(Some(Message::new("system", "Be brief.")))
        );
        assert_eq!(system(&json!({"system": " ", "tools": []})), Ok(None));
        assert_eq!(system(&json!({"tools": [1]})), Err(Unclear::Field("tools")));
        assert_eq!(system(&json!({"system": ["Be brief."]})), Err(Unclear::Content("[\"Be brief.\"]".into())));
    }
}
