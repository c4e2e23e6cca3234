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

struct Pieces<I>(I);

impl<I: Iterator<Item = io::Result<Vec<u8>>> + Unpin> HttpBody for Pieces<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|piece| piece.map(|piece| Frame::data(piece.into()))))
    }
}

/// 200 with the content type `kind` and a body of `pieces`. Each of them should take little time and memory.
pub fn pieces(
    kind: &'static str,
    pieces: impl Iterator<Item = io::Result<Vec<u8>>> + Send + Unpin + 'static,
) -> Response {
    let mut response = Response::new(Body::new(Pieces(pieces)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
