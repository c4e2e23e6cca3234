//! A prompt: a conversation that ends with a user message.

use serde_json::{Value, json};

use super::tally::{Mistake, Refusal};
use crate::text::{
    Message,
    messages::{self, Unclear},
};

/// A checked conversation: roles are system (first message only), user and assistant; no message is empty; the last one
/// is the user's. A plain text is one user message: a model without a chat template continues just that text, so base
/// models need no form of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt(Vec<Message>);

impl Prompt {
    /// A single user message.
    ///
    /// # Errors
    /// A [`Refusal`] if the text is empty.
    pub fn text(text: &str) -> Result<Self, Refusal> {
        Self::conversation(vec![Message::new("user", text)])
    }

    /// A conversation.
    ///
    /// # Errors
    /// A [`Refusal`] that says which rule is broken.
    pub fn conversation(messages: Vec<Message>) -> Result<Self, Refusal> {
        for (index, Message { role, content }) in messages.iter().enumerate() {
            match role.as_str() {
                "user" | "assistant" => {}
                "system" if index == 0 => {}
                "system" => return Err(Refusal::new(Mistake::SystemNotFirst, format!("message {}", index + 1))),
                other => {
                    let detail = format!("{other:?}; known are system, user, assistant");
                    return Err(Refusal::new(Mistake::UnknownRole, detail));
                }
            }
            if content.trim().is_empty() {
                let detail = format!("message {} ({role}) has no text", index + 1);
                return Err(Refusal::new(Mistake::EmptyPrompt, detail));
            }
        }
        match messages.last() {
            None => Err(Refusal::new(Mistake::EmptyPrompt, "no messages")),
            Some(last) if last.role != "user" => {
                Err(Refusal::new(Mistake::PromptEnd, format!("its last message is by {}", last.role)))
            }
            Some(_) => Ok(Self(messages)),
        }
    }

    /// The messages, oldest first; at least one.
    pub fn messages(&self) -> &[Message] {
        &self.0
    }

    /// The last user message.
    pub fn last(&self) -> &str {
        self.0.last().map_or("", |message| &message.content)
    }

    /// Parses a string or a list of `{"role", "content"}`.
    ///
    /// # Errors
    /// Returns a [`Refusal`].
    pub fn from_json(value: &Value) -> Result<Self, Refusal> {
        match value {
            Value::String(text) => Self::text(text),
            other => Self::conversation(messages(other, "prompt")?),
        }
    }

    /// A string for a single user message, otherwise a list of `{"role", "content"}`; [`Prompt::from_json`] reads both.
    pub fn to_json(&self) -> Value {
        match &self.0[..] {
            [only] => Value::String(only.content.clone()),
            _ => self.list(),
        }
    }

    /// The form stored in the database: always a list.
    pub fn list(&self) -> Value {
        self.0.iter().map(|message| json!({ "role": message.role, "content": message.content })).collect()
    }
}

/// Parses a list of `{"role", "content"}`; see [`messages::turns`]. `name` is the field's name in errors.
pub fn messages(value: &Value, name: &str) -> Result<Vec<Message>, Refusal> {
    let turns = messages::turns(value).map_err(|unclear| refusal(unclear, name))?;
    if turns.iter().any(|turn| !turn.learned) {
        return Err(Refusal::new(Mistake::Meaning, format!("a weight of 0 in \"{name}\"")));
    }
    Ok(turns.into_iter().map(|turn| turn.message).collect())
}

/// The refusal of the field or record `name`.
pub(super) fn refusal(unclear: Unclear, name: &str) -> Refusal {
    match unclear {
        Unclear::NoList => {
            let detail = format!("\"{name}\" is neither a string nor a list of {{\"role\", \"content\"}}");
            Refusal::new(Mistake::WrongField, detail)
        }
        Unclear::Role(role) => {
            Refusal::new(Mistake::UnknownRole, format!("{role:?}; known are system, user, assistant"))
        }
        Unclear::Content(content) => {
            Refusal::new(Mistake::WrongField, format!("a content of \"{name}\" is not a text: {content}"))
        }
        Unclear::Field(field) => Refusal::new(Mistake::Meaning, format!("{field:?} in \"{name}\"")),
        Unclear::Weight(weight) => Refusal::new(Mistake::WrongField, format!("a weight in \"{name}\" is {weight}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Mistake, Prompt};

    #[test]
    fn json_goes_both_ways() {
        let talk = json!([{"role": "system", "content": "Be terse."}, {"role": "user", "content": "Why?"}]);
        for value in [json!("plain\n text "), talk] {
            assert_eq!(Prompt::from_json(&value).unwrap().to_json(), value);
        }
        let listed = Prompt::from_json(&json!([{"role": "user", "content": "Why?"}])).unwrap();
        assert_eq!(listed, Prompt::text("Why?").unwrap());
    }

    #[test]
    fn mistakes_are_told_apart() {
        let (user, robot) = (json!({"role": "user", "content": "a"}), json!({"role": "robot", "content": "a"}));
        let assistant = json!({"role": "assistant", "content": "a"});
        let system = json!({"role": "system", "content": "a"});
        for (value, mistake) in [
            (json!("  "), Mistake::EmptyPrompt),
            (json!([]), Mistake::EmptyPrompt),
            (json!([user, {"role": "user", "content": ""}]), Mistake::EmptyPrompt),
            (json!([robot]), Mistake::UnknownRole),
            (json!([user, assistant]), Mistake::PromptEnd),
            (json!([user, system, user]), Mistake::SystemNotFirst),
            (json!([{"role": "user"}]), Mistake::EmptyPrompt),
            (json!(null), Mistake::WrongField),
            (json!(17), Mistake::WrongField),
        ] {
            assert_eq!(Prompt::from_json(&value).unwrap_err().mistake, mistake, "{value}");
        }
    }
}
