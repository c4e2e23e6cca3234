//! How much memory requests may take together, beside the model: what a body takes while it arrives, and what its JSON takes
//! while it is read. Small requests take a little each, of which the number of connections is the limit; larger ones wait
//! for each other.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Bytes of a body that any request may hold.
const SMALL_BODY: usize = 16 << 10;

/// Bytes that the values of any body may take.
const SMALL_VALUES: usize = 64 << 10;

/// Bytes in a permit.
const UNIT: usize = 1 << 10;

/// Memory that larger requests share.
#[derive(Clone, Debug)]
pub struct Memory {
    bodies: Arc<Semaphore>,
    values: Arc<Semaphore>,
    /// Bytes that the values of one body may take.
    most: usize,
    /// How long a request waits for others.
    patience: Duration,
}

/// Memory that is taken until this is dropped.
#[derive(Debug, Default)]
pub struct Held(Option<OwnedSemaphorePermit>);

impl Memory {
    /// Shares `bodies` bytes among arriving bodies, and `values` bytes among the values of those that are read, of which one
    /// body may have a third.
    pub fn new(bodies: usize, values: usize, patience: Duration) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self { bodies: semaphore(bodies), values: semaphore(values), most: values / 3, patience }
    }

    /// Room for a body that has grown to `bytes`; `held` is what it has so far.
    ///
    /// # Errors
    /// 503 if none becomes free in time.
    pub async fn grow(&self, held: &mut Held, bytes: usize) -> Result<(), Problem> {
        let has = held.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wants = if bytes > SMALL_BODY { bytes.div_ceil(UNIT) } else { 0 };
        if wants > has {
            let more = self.take(&self.bodies, wants - has).await?;
            match &mut held.0 {
                Some(permit) => permit.merge(more),
                None => held.0 = Some(more),
            }
        }
        Ok(())
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

    async fn take(&self, from: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let wanted = from.clone().acquire_many_owned(u32::try_from(count).unwrap_or(u32::MAX));
        match tokio::time::timeout(self.patience, wanted).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let reason = "too many large requests at once; try again later";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", reason))
            }
        }
    }
}

/// The most bytes that the values in a JSON text may take: a value after every comma, colon and bracket, a tree node for the
/// fields of every object, and its texts, which are also counted again for what is made of them.
fn size_of_values(json: &[u8]) -> usize {
    let size = |byte: &u8| match byte {
        b'{' => 11 * (size_of::<String>() + size_of::<serde_json::Value>()) + 64,
        b',' | b':' | b'[' => size_of::<serde_json::Value>(),
        _ => 0,
    };
    2 * json.len() + json.iter().map(size).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn large_bodies_wait_for_each_other_and_small_ones_do_not() {
        let memory = Memory::new(64 << 10, 3 << 20, Duration::from_millis(10));
        wait(async {
            let (mut one, mut other, mut small) = (Held::default(), Held::default(), Held::default());
            memory.grow(&mut one, 40 << 10).await.unwrap();
            memory.grow(&mut one, 60 << 10).await.unwrap();
            memory.grow(&mut small, SMALL_BODY).await.unwrap();
            assert_eq!(memory.grow(&mut other, 20 << 10).await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
            drop(one);
            memory.grow(&mut other, 20 << 10).await.unwrap();
        });
    }

    #[test]
    fn bodies_of_many_values_are_refused_or_wait() {
        let memory = Memory::new(64 << 10, 3 << 20, Duration::from_millis(10));
        wait(async {
            let body = |count: usize| format!("[{}0]", "{\"\":0},".repeat(count));
            assert!(memory.values(b"{\"a\": [1, 2]}").await.unwrap().0.is_none());
            let refused = memory.values(body(2000).as_bytes()).await.unwrap_err();
            assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
            let held: Vec<_> = [memory.values(body(1200).as_bytes()).await, memory.values(body(1200).as_bytes()).await]
                .into_iter()
                .map(Result::unwrap)
                .collect();
            let busy = memory.values(body(1500).as_bytes()).await.unwrap_err();
            assert_eq!((busy.status, busy.code), (StatusCode::SERVICE_UNAVAILABLE, Some("busy")));
            drop(held);
            memory.values(body(1500).as_bytes()).await.unwrap();
        });
    }
}
