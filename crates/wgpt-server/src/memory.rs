//! How much memory requests may take together, beside the model: what a body takes while it arrives, what its JSON takes while
//! it is read, and what a long answer takes that is made as a whole. Small requests take a little each, of which the number of
//! connections is the limit; larger ones wait for each other.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{app::Limits, problem::Problem};

/// Bytes that the values of any body may take.
const SMALL_VALUES: usize = 64 << 10;

/// Bytes that a byte of text takes: its copies, and up to one token of four bytes.
const TEXT: usize = 8;

/// Bytes in a permit.
const UNIT: usize = 1 << 10;

/// Memory that larger requests share.
#[derive(Clone, Debug)]
pub struct Memory {
    bodies: Arc<Semaphore>,
    values: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    inside: Arc<Semaphore>,
    /// Bytes that the values of one body may take.
    most: usize,
    /// How long a request waits for others.
    patience: Duration,
}

/// Memory that is taken until this is dropped.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Held {
    /// Whether nothing was taken.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl Memory {
    /// Shares `bodies` bytes among arriving bodies, `values` bytes among the values of those that are read, and as many among
    /// answers. One of them may have half.
    pub fn new(bodies: usize, values: usize, patience: Duration) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        let (bodies, answers, values, most) = (semaphore(bodies), semaphore(values), semaphore(values), values / 2);
        Self { bodies, values, answers, inside: Arc::new(Semaphore::new(1)), most, patience }
    }

    /// What `limits` allow, but at least two of the largest bodies.
    pub fn within(limits: &Limits) -> Self {
        // A text takes most of what its body may, and there are some more values around it.
        let values = limits.values.max(2 * TEXT * limits.body + limits.values / 8);
        Self::new(limits.bodies.max(2 * limits.body), values, limits.patience)
    }

    /// Room for a look inside the model, which takes more than other answers: there is one at a time.
    ///
    /// # Errors
    /// 503 if the one before does not end in time.
    pub async fn inside(&self) -> Result<Held, Problem> {
        Ok(Held(Some(self.take(&self.inside, 1).await?)))
    }

    /// Room for a body of at most `bytes`.
    ///
    /// # Errors
    /// 503 if none becomes free in time.
    pub async fn body(&self, bytes: usize) -> Result<Held, Problem> {
        Ok(Held(Some(self.take(&self.bodies, bytes.div_ceil(UNIT)).await?)))
    }

    /// Room for the values of a body, as many as its characters allow.
    ///
    /// # Errors
    /// 413 if one body may not have that much, 503 if it does not become free in time.
    pub async fn values(&self, json: &[u8]) -> Result<Held, Problem> {
        let bytes = size_of_values(json);
        if bytes > self.most {
            let reason = "the body's JSON has too many values; give fewer at a time";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason));
        }
        match bytes > SMALL_VALUES {
            true => Ok(Held(Some(self.take(&self.values, bytes.div_ceil(UNIT)).await?))),
            false => Ok(Held(None)),
        }
    }

    /// Room for a long answer of `bytes`; `param` is the field that makes it long. Nobody waits for it: what would wait holds
    /// memory, and those who hold this room keep it until their clients have read.
    ///
    /// # Errors
    /// 413 if one answer may not have that much, 503 if it is not free.
    pub fn answer(&self, bytes: usize, param: &str) -> Result<Held, Problem> {
        if bytes > self.most {
            let reason = format!("the answer would have about {} MB; ask for less at a time", bytes / 1_000_000);
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(Problem { status, code: Some("too_large"), ..Problem::field(param, reason) });
        }
        match bytes > SMALL_VALUES {
            true => {
                let count = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
                Ok(Held(Some(self.answers.clone().try_acquire_many_owned(count).map_err(|_| busy())?)))
            }
            false => Ok(Held(None)),
        }
    }

    async fn take(&self, from: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let wanted = from.clone().acquire_many_owned(u32::try_from(count).unwrap_or(u32::MAX));
        match tokio::time::timeout(self.patience, wanted).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }
}

fn busy() -> Problem {
    let reason = "too many large requests at once; try again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", reason)
}

/// The most bytes that the values in a JSON text may take, and what is made of them: a value after every comma, colon and
/// bracket, a tree node for the fields of every object, and its texts with their tokens. What is inside a string does not count.
fn size_of_values(json: &[u8]) -> usize {
    let (mut size, mut within, mut escaped) = (TEXT * json.len(), false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if within => escaped = true,
            b'"' => within = !within,
            b'{' if !within => size += 11 * (size_of::<String>() + size_of::<serde_json::Value>()) + 64,
            b',' | b':' | b'[' if !within => size += size_of::<serde_json::Value>(),
            _ => {}
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn large_bodies_wait_for_each_other() {
        let memory = Memory::new(64 << 10, 2 << 20, Duration::from_millis(10));
        wait(async {
            let (one, other) = (memory.body(40 << 10).await.unwrap(), memory.body(20 << 10).await.unwrap());
            assert_eq!(memory.body(20 << 10).await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
            drop(one);
            memory.body(40 << 10).await.unwrap();
            drop(other);
        });
    }

    #[test]
    fn the_largest_body_fits() {
        for body in [1 << 10, 1 << 20, 40_000_000] {
            let memory = Memory::within(&Limits { body, ..Limits::default() });
            wait(async {
                let held = memory.body(body).await.unwrap();
                let json = format!("{{\"text\": \"{}\"}}", "x".repeat(body - 12));
                drop((memory.values(json.as_bytes()).await.unwrap(), held));
            });
        }
    }

    #[test]
    fn bodies_of_many_values_are_refused_or_wait() {
        let memory = Memory::new(64 << 10, 2 << 20, Duration::from_millis(10));
        wait(async {
            let body = |count: usize| format!("[{}0]", "{\"\":0},".repeat(count));
            assert!(memory.values(b"{\"a\": [1, 2]}").await.unwrap().0.is_none());
            // Braces in a text are none of JSON's.
            let text = format!("{{\"a\": \"\\\"{}\"}}", "{[,:\\\\".repeat(1000));
            assert!(memory.values(text.as_bytes()).await.unwrap().0.is_none(), "{text:.40}");
            let refused = memory.values(body(2000).as_bytes()).await.unwrap_err();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
            let mut held = Vec::new();
            for _ in 0..2 {
                held.push(memory.values(body(1200).as_bytes()).await.unwrap());
            }
            let busy = memory.values(body(1200).as_bytes()).await.unwrap_err();
            assert_eq!((busy.status, busy.code), (StatusCode::SERVICE_UNAVAILABLE, Some("busy")));
            drop(held);
            memory.values(body(1200).as_bytes()).await.unwrap();
        });
    }
}
