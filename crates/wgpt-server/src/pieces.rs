//! Bodies that are made piece by piece while their client reads, so that a long one is never in memory as a whole.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, header},
    response::Response,
};
use hyper::body::Frame;
use serde_json::Value;

struct Pieces<I>(I);

impl<I: Iterator<Item = io::Result<Vec<u8>>> + Unpin> HttpBody for Pieces<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|piece| piece.map(|piece| Frame::data(piece.into()))))
    }
}

/// The JSON of `items`, separated by commas, `count` of them at a time.
pub fn list<T>(
    items: impl IntoIterator<Item = T>,
    count: usize,
    json: impl Fn(T) -> Value,
) -> impl Iterator<Item = String> {
    let mut left = items.into_iter().enumerate();
    std::iter::from_fn(move || {
        let mut piece = String::new();
        for (index, item) in left.by_ref().take(count) {
            let comma = if index > 0 { "," } else { "" };
            piece += &format!("{comma}{}", json(item));
        }
        Some(piece).filter(|piece| !piece.is_empty())
    })
}

/// Bytes of a body that is sent at once, with its length.
const SHORT: usize = 64 << 10;

/// 200 with the content type `kind` and a body of `pieces`. Each of them should take little time and memory. A short body is
/// sent at once, with its length, which every client understands.
pub fn pieces(
    kind: &'static str,
    mut pieces: impl Iterator<Item = io::Result<Vec<u8>>> + Send + Unpin + 'static,
) -> Response {
    let mut begin = Vec::new();
    let body = loop {
        match pieces.next() {
            None => break Body::from(begin),
            Some(Ok(piece)) => begin.extend(piece),
            Some(error) => break Body::new(Pieces(std::iter::once(Ok(begin)).chain(std::iter::once(error)))),
        }
        if begin.len() > SHORT {
            break Body::new(Pieces(std::iter::once(Ok(begin)).chain(pieces)));
        }
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_bodies_have_no_length() {
        let of = |count: usize| pieces("text/plain", (0..count).map(|_| Ok(vec![b'x'; 1 << 10]))).into_body();
        assert_eq!(of(0).size_hint().exact(), Some(0));
        assert_eq!(of(64).size_hint().exact(), Some(64 << 10));
        assert_eq!(of(65).size_hint().exact(), None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let whole = runtime.block_on(axum::body::to_bytes(of(200), usize::MAX)).unwrap();
        assert_eq!(whole.len(), 200 << 10);
    }
}
