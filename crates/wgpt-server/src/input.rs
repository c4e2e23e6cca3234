//! The body of a request: read with a size limit, parsed as JSON, and queried field by field, so that an error can name
//! the field.

use std::{
    ops::RangeInclusive,
    pin::Pin,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Map, Value};

use super::{
    memory::{Held, Memory},
    problem::{Problem, short},
};
use wgpt::content::{GZIP, without_mark};

/// Bytes beyond the limit that are still read and discarded: a client reads the error only after sending its whole
/// body.
const THROWN: usize = 16 << 20;

/// Bytes of a body that every request may hold.
const SMALL: usize = 16 << 10;

/// A body of which nothing arrives for this part of its time is given up, so that it does not keep its memory.
const SILENCE: u32 = 6;

/// A body, and the memory that it takes.
pub struct ReadBody {
    /// Its content.
    pub bytes: Vec<u8>,
    /// The memory.
    pub held: Held,
}

/// Reads a body of at most `limit` bytes within `patience`, into memory that it shares with others.
///
/// # Errors
/// 413 if it is longer, 408 if it takes longer, 400 if it is cut off, 503 if others take all memory for too long.
pub async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    patience: Duration,
    memory: &Memory,
) -> Result<ReadBody, Problem> {
    let long = || {
        let reason = format!("the body has more than {limit} bytes, the most that this server takes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason)
    };
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|length| length > limit + THROWN) {
        return Err(long());
    }
    let silence = (patience / SILENCE).max(Duration::from_secs(1)).min(patience);
    let late = |_| {
        let (whole, silent) = (patience.as_secs(), silence.as_secs());
        let reason = format!("the body did not arrive within {whole} s, or nothing of it for {silent} s");
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", reason)
    };
    let (mut bytes, mut held) = (Vec::new(), Held::default());
    let (mut count, mut left) = (0, patience);
    loop {
        // Waiting for memory is not the client's fault, so it does not count.
        let start = Instant::now();
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let frame = tokio::time::timeout(left.min(silence), frame).await.map_err(late)?;
        left = left.saturating_sub(start.elapsed());
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Problem::bad(format!("the body was cut off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        count += data.len();
        if count > limit + THROWN {
            return Err(long());
        }
        if count > limit {
            (bytes, held) = (Vec::new(), Held::default());
            continue;
        }
        if held.is_none() && count > SMALL {
            // All that it may become at once: bodies that held a part each would wait for each other forever.
            held = memory.body(told.unwrap_or(limit).clamp(count, limit)).await?;
        }
        bytes.extend_from_slice(&data);
    }
    if count > limit { Err(long()) } else { Ok(ReadBody { bytes, held }) }
}

/// A JSON object whose fields are checked when they are read. A null field counts as absent. The memory that it takes is
/// shared with other requests, so it should be dropped before anything is waited for.
#[derive(Debug)]
pub struct Fields {
    fields: Map<String, Value>,
    held: Held,
}

impl Fields {
    /// Parses a body.
    ///
    /// # Errors
    /// 400 with the line and column of the error.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        Self::parse_into(bytes, Held::default())
    }

    /// Parses a body into memory that was taken for its values.
    ///
    /// # Errors
    /// 400 with the line and column of the error.
    pub fn parse_into(bytes: &[u8], held: Held) -> Result<Self, Problem> {
        match serde_json::from_slice(without_mark(bytes)) {
            Ok(Value::Object(fields)) => Ok(Self { fields, held }),
            Ok(_) => Err(Problem::bad("the body is not a JSON object")),
            Err(_) if bytes.starts_with(GZIP) => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "compressed",
                "the body is compressed with gzip; send it as it is, without Content-Encoding",
            )),
            Err(error) => Err(Problem::bad(format!("the body is not valid JSON in UTF-8: {error}"))),
        }
    }

    /// The memory that they took, for what was made of them.
    pub fn into_held(self) -> Held {
        self.held
    }

    /// A field, if it is present.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// A required field.
    ///
    /// # Errors
    /// 400 if it is missing.
    pub fn need(&self, name: &str) -> Result<&Value, Problem> {
        self.get(name).ok_or_else(|| Problem::field(name, "is missing"))
    }

    /// A string.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let text = |value: &Value| value.as_str().map(str::len).ok_or_else(|| Problem::field(name, "must be a string"));
        self.get(name).map(text).transpose()?;
        Ok(self.get(name).and_then(Value::as_str))
    }

    /// A boolean.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        let flag = |value: &Value| value.as_bool().ok_or_else(|| Problem::field(name, "must be true or false"));
        self.get(name).map_or(Ok(false), flag)
    }

    /// A number in a range.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Problem> {
        let wrong = || Problem::field(name, format!("must be a number from {} to {}", range.start(), range.end()));
        let number = |value: &Value| value.as_f64().filter(|number| range.contains(number)).ok_or_else(wrong);
        self.get(name).map(number).transpose()
    }

    /// An integer in a range.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let wrong = || match *range.end() {
            u64::MAX => Problem::field(name, format!("must be an integer of at least {}", range.start())),
            end => Problem::field(name, format!("must be an integer from {} to {end}", range.start())),
        };
        let whole = |value: &Value| {
            // Some clients write 16.0 for 16.
            let float = || value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x)).map(|x| x as u64);
            value.as_u64().or_else(float).filter(|number| range.contains(number)).ok_or_else(wrong)
        };
        self.get(name).map(whole).transpose()
    }

    /// A list.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn list(&self, name: &str) -> Result<&[Value], Problem> {
        let list =
            |value: &'_ Value| value.is_array().then_some(()).ok_or_else(|| Problem::field(name, "must be a list"));
        self.get(name).map(list).transpose()?;
        Ok(self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice))
    }

    /// Converts a list of values to token ids, all below `vocabulary`.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn ids(name: &str, values: &[Value], vocabulary: usize) -> Result<Vec<u32>, Problem> {
        let id = |value: &Value| {
            let id = value.as_u64().filter(|id| *id < vocabulary as u64);
            id.map(|id| id as u32).ok_or_else(|| {
                Problem::field(name, format!("{} is not a token id; give integers below {vocabulary}", short(value)))
            })
        };
        values.iter().map(id).collect()
    }

    /// Refuses an unsupported field, unless its value requests nothing.
    ///
    /// # Errors
    /// 400.
    pub fn refuse(&self, name: &str, instead: &str) -> Result<(), Problem> {
        match self.get(name) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(Value::Array(list)) if list.is_empty() => Ok(()),
            Some(Value::Object(object)) if object.is_empty() => Ok(()),
            Some(Value::String(text)) if text.is_empty() || text == "none" => Ok(()),
            Some(_) => Err(Problem::field(name, format!("is not supported; {instead}"))),
        }
    }

    /// Refuses all fields except the `known` ones, unless they request nothing: what is not understood may change what
    /// the answer should be.
    ///
    /// # Errors
    /// 400.
    pub fn refuse_others(&self, known: &[&[&str]]) -> Result<(), Problem> {
        let others = self.fields.keys().filter(|name| !known.iter().any(|names| names.contains(&name.as_str())));
        for name in others {
            let reason = "is not known here; leave it out (docs/serving.md lists what is)";
            self.refuse(name, "").map_err(|_| Problem::field(&short(name), reason))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_checked_by_name() {
        let all = fields(r#"{"a": 3, "b": "x", "c": null, "d": 2.5, "e": [1, 7], "f": 16.0, "g": true}"#);
        assert_eq!((all.integer("a", 1..=9).unwrap(), all.integer("c", 1..=9).unwrap()), (Some(3), None));
        assert_eq!((all.integer("f", 1..=99).unwrap(), all.number("d", 0.0..=3.0).unwrap()), (Some(16), Some(2.5)));
        assert_eq!((all.text("b").unwrap(), all.flag("g").unwrap(), all.flag("h").unwrap()), (Some("x"), true, false));
        for wrong in [
            all.integer("d", 1..=9).unwrap_err(),
            all.number("d", 0.0..=2.0).unwrap_err(),
            all.text("d").unwrap_err(),
            all.flag("d").unwrap_err(),
            all.list("d").unwrap_err(),
            Fields::ids("d", all.list("e").unwrap(), 7).unwrap_err(),
            all.refuse("d", "leave it out").unwrap_err(),
        ] {
            assert_eq!((wrong.status, wrong.param.as_deref()), (StatusCode::BAD_REQUEST, Some("d")), "{wrong:?}");
        }
        assert!(all.refuse("c", "").is_ok() && all.need("c").is_err());
        let known: [&[&str]; 2] = [&["a", "b", "d"], &["e", "f"]];
        assert_eq!(all.refuse_others(&known).unwrap_err().param.as_deref(), Some("g"));
        assert!(fields(r#"{"a": 1, "g": false, "h": null, "i": []}"#).refuse_others(&known).is_ok());
    }

    #[test]
    fn broken_bodies_are_explained() {
        for broken in [&b"{\"a\": }"[..], b"[1]", b"\xff\xfe", b"{\"a\": \"\xff\"}", b"", "[".repeat(9999).as_bytes()] {
            let problem = Fields::parse(broken).unwrap_err();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        }
        let compressed = Fields::parse(b"\x1f\x8b\x08\0\0").unwrap_err();
        assert_eq!(compressed.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(compressed.message.contains("gzip"));
    }

    #[test]
    fn long_bodies_are_cut_off() {
        let read = |headers: &HeaderMap, body: Body| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let memory = Memory::new(1 << 20, 1 << 20, Duration::from_millis(20));
            runtime.block_on(read(headers, body, 8, Duration::from_millis(20), &memory)).map(|body| body.bytes)
        };
        assert_eq!(read(&HeaderMap::new(), Body::from("12345678")).unwrap(), b"12345678");
        let long = read(&HeaderMap::new(), Body::from("123456789")).unwrap_err();
        assert_eq!(long.status, StatusCode::PAYLOAD_TOO_LARGE);
        let told = HeaderMap::from_iter([(header::CONTENT_LENGTH, "99999999".parse().unwrap())]);
        assert_eq!(read(&told, Body::from("1")).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}
