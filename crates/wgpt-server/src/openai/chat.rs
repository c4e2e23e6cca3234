//! `/v1/chat/completions`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    ask::{Choice, Reporting, ask, gather},
    envelope::Envelope,
    logprobs,
    options::{self, Options},
    stream::{self, Shape},
};
use crate::{
    answer::{ChoiceEvent, ChoiceUpdate},
    app::{App, ServedModel},
    input::Fields,
    pieces::pieces,
    problem::{Problem, short},
    router::{self, ReadRequest},
};
use wgpt::text::{
    Message,
    messages::{Unclear, refuse_meaning},
};

/// Maximum number of likely tokens reported: OpenAI's limit, and that of the page, which draws them.
const TOP: [u64; 2] = [20, 50];

/// The fields that are read here.
const FIELDS: &[&str] = &["messages", "logprobs", "top_logprobs", "top_logits"];

/// The object type of a piece of an answer.
const PIECE: &str = "chat.completion.chunk";

/// Answers a conversation.
///
/// # Errors
/// A [`Problem`] in OpenAI's shape.
pub async fn complete(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ReadRequest { fields, spent, client } = router::asked(&app, request).await?;
    let model = app.model(fields.text("model")?)?;
    let options = Options::read(&fields, &app.limits, &app.secrets, app.facts.config.vocabulary)?;
    fields.refuse_others(&[options::FIELDS, options::IGNORED, FIELDS])?;
    let ids = fields.get("top_logits").is_some();
    let (telling, messages) = (telling(&fields)?, messages(fields.need("messages")?)?);
    let prompt = model.clone().prompt(messages, fields.into_held()).await?;
    spent.prompt(prompt.len());
    let receiver = ask(&app, client, &model, &[prompt], &options, telling, usize::MAX)?;
    let form = Form {
        envelope: Envelope::new("chatcmpl", &app, &model, &options, spent),
        model,
        telling,
        ids,
        choices: options.choices,
    };
    if options.stream {
        return Ok(stream::respond(receiver, options.choices, form));
    }
    let choices = gather(receiver, 1, options.choices, &form.envelope.spent).await?;
    Ok(form.whole(choices))
}

/// Which tokens are reported: `logprobs` and `top_logprobs`, or the page's `top_logits`.
fn telling(fields: &Fields) -> Result<Reporting, Problem> {
    let top = fields.integer("top_logprobs", 0..=TOP[0])?;
    if let Some(top) = fields.integer("top_logits", 1..=TOP[1])? {
        return Ok(Reporting { tokens: true, top: top as usize });
    }
    match (fields.flag("logprobs")?, top) {
        (false, Some(1..)) => Err(Problem::field("top_logprobs", "needs \"logprobs\": true")),
        (tokens, top) => Ok(Reporting { tokens, top: top.unwrap_or(0) as usize }),
    }
}

/// Reads `messages`: contents are strings or lists of text parts.
///
/// # Errors
/// 400 naming the message.
pub fn messages(value: &Value) -> Result<Vec<Message>, Problem> {
    let wrong = |what: String| Problem::field("messages", what);
    let list = value.as_array().ok_or_else(|| wrong("must be a list of {\"role\", \"content\"}".to_string()))?;
    if list.is_empty() {
        return Err(wrong("is empty; it needs at least one {\"role\", \"content\"}".to_string()));
    }
    let message = |(index, message): (usize, &Value)| {
        let role = match message.get("role").and_then(Value::as_str) {
            Some(role @ ("system" | "user" | "assistant")) => role,
            // OpenAI's newer name.
            Some("developer") => "system",
            other => {
                let other = short(other.unwrap_or("none"));
                return Err(wrong(format!("message {index} has the role '{other}'; use system, user or assistant")));
            }
        };
        if let Err(Unclear::Field(name)) = refuse_meaning(message) {
            return Err(wrong(format!(
                "message {index} has '{name}', which changes what it means and is not supported"
            )));
        }
        let part = |part: &Value| {
            let text = (part.get("type").and_then(Value::as_str) == Some("text")).then(|| part.get("text")?.as_str());
            text.flatten()
                .map(str::to_string)
                .ok_or_else(|| wrong(format!("message {index} has a part that is not text")))
        };
        let content = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<String, _>>()?,
            None | Some(Value::Null) if role == "assistant" => String::new(),
            _ => return Err(wrong(format!("message {index} has no content; it must be a string"))),
        };
        Ok(Message::new(role, content))
    };
    list.iter().enumerate().map(message).collect()
}

/// How answers are formatted.
struct Form {
    envelope: Envelope,
    model: Arc<ServedModel>,
    telling: Reporting,
    ids: bool,
    choices: usize,
}

impl Form {
    fn logprobs(&self, tokens: &[wgpt::infer::engine::request::TokenEvent]) -> Value {
        match self.telling.tokens {
            true => logprobs::chat(&self.model.codec.tokenizer, tokens, self.ids),
            false => Value::Null,
        }
    }

    /// The complete answer. Log-probabilities, of which there may be many, are written while the client reads.
    fn whole(self, choices: Vec<Choice>) -> Response {
        let (before, after) = self.envelope.around("chat.completion");
        let form = Arc::new(self);
        let choice = move |(index, choice): (usize, Choice)| {
            let message = json!({ "role": "assistant", "content": choice.text, "refusal": null });
            let (comma, reason) = (if index > 0 { "," } else { "" }, json!(choice.reason));
            let head =
                format!("{comma}{{\"index\":{index},\"message\":{message},\"finish_reason\":{reason},\"logprobs\":");
            let (logprobs, end) = match form.telling.tokens {
                false => (None, "null}"),
                true => (Some(logprobs::pieces(form.model.clone(), choice.tokens, form.ids)), "}"),
            };
            std::iter::once(head).chain(logprobs.into_iter().flatten()).chain(std::iter::once(end.to_string()))
        };
        let choices = choices.into_iter().enumerate().flat_map(choice);
        let all = std::iter::once(before).chain(choices).chain(std::iter::once(after));
        pieces("application/json", all.map(|piece| Ok(piece.into_bytes())))
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Value, reason: Option<&str>) -> String {
        let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason });
        self.envelope.chunk(PIECE, choice)
    }
}

impl Shape for Form {
    fn begin(&mut self) -> String {
        let role = |index| self.chunk(index, json!({ "role": "assistant", "content": "" }), Value::Null, None);
        (0..self.choices).map(role).collect()
    }

    fn heard(&mut self, heard: &ChoiceEvent) -> String {
        self.envelope.spent.heard(heard, self.choices);
        match &heard.update {
            ChoiceUpdate::More(piece) => {
                self.chunk(heard.choice, json!({ "content": piece.text }), self.logprobs(&piece.tokens), None)
            }
            ChoiceUpdate::Finished(reason, _) => self.chunk(heard.choice, json!({}), Value::Null, Some(reason)),
            _ => String::new(),
        }
    }

    fn end(&mut self) -> String {
        self.envelope.end(PIECE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_texts_by_known_roles() {
        let none = messages(&json!([])).unwrap_err().message;
        assert!(none.contains("needs at least one"), "{none}");
        let list = json!([
            {"role": "developer", "content": "Be terse."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [], "refusal": null, "audio": null},
        ]);
        let expected = [Message::new("system", "Be terse."), Message::new("user", "ab"), Message::new("assistant", "")];
        assert_eq!(messages(&list).unwrap(), expected);
        for wrong in [
            json!([]),
            json!("hi"),
            json!([{"role": "robot", "content": "a"}]),
            json!([{"role": "user"}]),
            json!([{"role": "user", "content": [{"type": "image_url"}]}]),
            json!(["hi"]),
            json!([{"role": "user", "content": "a", "name": "Ann"}]),
            json!([{"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}]),
            json!([{"role": "assistant", "content": "a", "reasoning_content": "b"}]),
        ] {
            assert_eq!(messages(&wrong).unwrap_err().param.as_deref(), Some("messages"), "{wrong}");
        }
    }

    #[test]
    fn logprobs_are_told_where_they_are_asked_for() {
        let read = |text: &str| telling(&Fields::parse(text.as_bytes()).unwrap());
        assert_eq!(read("{}").unwrap(), Reporting::default());
        assert_eq!(read(r#"{"logprobs": true, "top_logprobs": 3}"#).unwrap(), Reporting { tokens: true, top: 3 });
        assert_eq!(read(r#"{"top_logits": 50}"#).unwrap(), Reporting { tokens: true, top: 50 });
        assert!(read(r#"{"top_logprobs": 3}"#).is_err() && read(r#"{"top_logits": 51}"#).is_err());
    }
}
