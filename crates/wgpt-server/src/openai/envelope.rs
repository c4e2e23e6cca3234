//! The fields around the choices of an answer, whether sent at once or in pieces.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ask::TokenCounts, options::Options, stream::event};
use crate::{
    app::{App, ServedModel},
    router,
};

/// What stands before the choices.
const CHOICES: &str = "\"choices\":[";

/// An answer's id and token usage.
pub struct Envelope {
    id: String,
    created: u64,
    model: String,
    /// Whether a stream ends with the token usage.
    usage: bool,
    /// Its token counts.
    pub spent: Arc<TokenCounts>,
}

impl Envelope {
    /// A new envelope; its id begins with `kind`.
    pub fn new(kind: &str, app: &App, model: &ServedModel, options: &Options, spent: Arc<TokenCounts>) -> Self {
        let id = format!("{kind}-{:016x}", app.secrets.next());
        Self { id, created: router::seconds(), model: model.name.clone(), usage: options.usage, spent }
    }

    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": router::FINGERPRINT, "choices": choices,
        })
    }

    /// The complete answer, without choices.
    fn whole(&self, object: &str) -> Value {
        let mut whole = self.object(object, json!([]));
        whole["usage"] = self.spent.json();
        whole
    }

    /// The text before and after the choices of the complete answer.
    pub fn around(&self, object: &str) -> (String, String) {
        let whole = self.whole(object).to_string();
        // The key cannot occur earlier within a text, where quotes are escaped.
        let at = whole.find(CHOICES).map_or(whole.len(), |at| at + CHOICES.len());
        (whole[..at].to_string(), whole[at..].to_string())
    }

    /// A piece of one choice as an event.
    pub fn chunk(&self, object: &str, choice: Value) -> String {
        let mut chunk = self.object(object, json!([choice]));
        if self.usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    /// The event with the token usage, if it was requested.
    pub fn end(&self, object: &str) -> String {
        if self.usage { event(&self.whole(object)) } else { String::new() }
    }
}
