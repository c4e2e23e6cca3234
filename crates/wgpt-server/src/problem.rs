//! What a client is told when something is wrong, in OpenAI's shape.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use wgpt::Error;

/// A request that is not answered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What is wrong, where, and what to do.
    pub message: String,
    /// The field of the request that is wrong, where it is one.
    pub param: Option<String>,
    /// A word for programs.
    pub code: Option<&'static str>,
}

impl Problem {
    /// One of any kind.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: Some(code) }
    }

    /// 400: a request that makes no sense.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param: None, code: None }
    }

    /// 400: a field that makes no sense.
    pub fn field(name: &str, message: impl std::fmt::Display) -> Self {
        Self { param: Some(name.to_string()), ..Self::bad(format!("'{name}': {message}")) }
    }

    /// 404.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 500: the server's own fault.
    pub fn fault(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// 503: on the way out.
    pub fn draining() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the server is shutting down; ask again later")
    }

    /// OpenAI's word for the kind of a status.
    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// `{"error": {"message", "type", "param", "code"}}`.
    pub fn json(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.json());
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What the client wrote is told to it; what went wrong here is the server's fault.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Usage(_) | Error::Setting { .. } | Error::Tokenizer(_) | Error::Template(_) => {
                Self::bad(error.to_string())
            }
            other => Self::fault(other.to_string()),
        }
    }
}

/// The beginning of what a client sent, to be sent back.
pub fn short(what: impl std::fmt::Display) -> String {
    let text = what.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A JSON value as a response.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with a JSON value.
pub fn ok(value: &Value) -> Response {
    json_response(StatusCode::OK, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_comes_back_short() {
        assert_eq!((short("床前").as_str(), short("é".repeat(1000)).len()), ("床前", 163));
    }

    #[test]
    fn the_shape_is_openais() {
        let error = Problem::field("top_p", "give 0 to 1").json();
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert_eq!((&error["error"]["param"], &error["error"]["code"]), (&json!("top_p"), &Value::Null));
        assert_eq!(Problem::from(Error::Usage("no".into())).status, StatusCode::BAD_REQUEST);
        assert_eq!(Problem::from(Error::setting("top_p", 2, "give 0 to 1")).status, StatusCode::BAD_REQUEST);
        assert_eq!(Problem::from(Error::OutOfMemory("no".into())).json()["error"]["type"], "server_error");
    }
}
