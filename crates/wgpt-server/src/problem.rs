//! Error responses, in OpenAI's format.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use wgpt::Error;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What is wrong, where, and how to fix it.
    pub message: String,
    /// The request field that is wrong, if a field is the cause.
    pub param: Option<String>,
    /// A code for programs.
    pub code: Option<&'static str>,
}

impl Problem {
    /// A problem of any kind.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: Some(code) }
    }

    /// 400: an invalid request.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param: None, code: None }
    }

    /// 400: an invalid field.
    pub fn field(name: &str, message: impl std::fmt::Display) -> Self {
        Self { param: Some(name.to_string()), ..Self::bad(format!("'{name}': {message}")) }
    }

    /// 404.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 500: an error of the server.
    pub fn fault(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// 503: the server is shutting down.
    pub fn draining() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the server is shutting down; try again later")
    }

    /// OpenAI's name for the kind of a status.
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

/// Errors in the client's input are reported to it; all others are errors of the server.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Usage(_) | Error::Setting { .. } | Error::Tokenizer(_) | Error::Template(_) => {
                Self::bad(error.to_string())
            }
            Error::Locked { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_busy", error.to_string()),
            other => Self::fault(other.to_string()),
        }
    }
}

/// The beginning of something the client sent, to quote in a response.
pub fn short(what: impl std::fmt::Display) -> String {
    let text = what.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A JSON value as a response.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = written(value.to_string());
    *response.status_mut() = status;
    response
}

/// 200 with JSON that is written already.
pub fn written(json: String) -> Response {
    let mut response = Response::new(Body::from(json));
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
        let error = Problem::field("top_p", "must be 0 to 1").json();
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert_eq!((&error["error"]["param"], &error["error"]["code"]), (&json!("top_p"), &Value::Null));
        assert_eq!(Problem::from(Error::Usage("no".into())).status, StatusCode::BAD_REQUEST);
        assert_eq!(Problem::from(Error::setting("top_p", 2, "give 0 to 1")).status, StatusCode::BAD_REQUEST);
        assert_eq!(Problem::from(Error::OutOfMemory("no".into())).json()["error"]["type"], "server_error");
    }
}
