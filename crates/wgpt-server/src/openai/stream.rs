//! Streams answers while they are generated, as server-sent events.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, header},
    response::Response,
};
use hyper::body::Frame;
use serde_json::Value;
use tokio::{sync::mpsc::Receiver, time::Sleep};

use crate::{
    answer::{ChoiceEvent, ChoiceUpdate},
    problem::Problem,
};

/// Maximum number of bytes sent at once if more are ready.
const FRAME: usize = 8192;

/// A stream with nothing to send for this long, for instance because its request waits in the queue, sends a comment so
/// that proxies do not consider it dead.
const BEAT: Duration = Duration::from_secs(15);

/// One event. The JSON is on one line, because a line break would end the event.
pub fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// How updates are converted to events.
pub trait Shape: Send + Unpin + 'static {
    /// The events before all others.
    fn begin(&mut self) -> String;
    /// The events for an update.
    fn heard(&mut self, heard: &ChoiceEvent) -> String;
    /// The events before the last one, `[DONE]`.
    fn end(&mut self) -> String;
}

/// The body of a stream of `left` choices. It is polled when its client can take more, and dropped when the client
/// disconnects; the channel then closes and the engine stops.
struct Events<S> {
    receiver: Receiver<ChoiceEvent>,
    shape: S,
    left: usize,
    begun: bool,
    ended: bool,
    /// Set while there is nothing to send.
    beat: Option<Pin<Box<Sleep>>>,
}

impl<S: Shape> Events<S> {
    fn take(&mut self, heard: Option<&ChoiceEvent>) -> String {
        match heard {
            Some(ChoiceEvent { update: ChoiceUpdate::Failed(reason), .. }) => {
                self.ended = true;
                event(&Problem::fault(reason.as_str()).json())
            }
            Some(heard) => {
                let mut text = self.shape.heard(heard);
                if let ChoiceUpdate::Finished(..) = heard.update {
                    self.left -= 1;
                    if self.left == 0 {
                        self.ended = true;
                        text += &self.shape.end();
                        text += "data: [DONE]\n\n";
                    }
                }
                text
            }
            None => {
                self.ended = true;
                event(
                    &Problem::fault("the answer was cut off: the client read too slowly, or the engine stopped").json(),
                )
            }
        }
    }
}

impl<S: Shape> HttpBody for Events<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut text = String::new();
        if !this.begun {
            this.begun = true;
            text = this.shape.begin();
        }
        while text.len() < FRAME && !this.ended {
            match this.receiver.poll_recv(cx) {
                Poll::Ready(heard) => text += &this.take(heard.as_ref()),
                Poll::Pending if text.is_empty() => {
                    let beat = this.beat.get_or_insert_with(|| Box::pin(tokio::time::sleep(BEAT)));
                    ready!(beat.as_mut().poll(cx));
                    text = ": waiting\n\n".to_string();
                }
                Poll::Pending => break,
            }
        }
        this.beat = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }
}

/// The response that streams the events of `choices`.
pub fn respond(receiver: Receiver<ChoiceEvent>, choices: usize, shape: impl Shape) -> Response {
    let events = Events { receiver, shape, left: choices, begun: false, ended: false, beat: None };
    let mut response = Response::new(Body::new(events));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        // Keeps proxies that buffer responses from holding tokens back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::writer::Piece;

    struct Plain;

    impl Shape for Plain {
        fn begin(&mut self) -> String {
            event(&json!("begin"))
        }

        fn heard(&mut self, heard: &ChoiceEvent) -> String {
            match &heard.update {
                ChoiceUpdate::More(piece) => event(&json!(piece.text)),
                _ => String::new(),
            }
        }

        fn end(&mut self) -> String {
            event(&json!("end"))
        }
    }

    fn all(updates: &[ChoiceUpdate]) -> String {
        let (sender, receiver) = crate::answer::events(1);
        updates.iter().for_each(|update| sender.try_send(ChoiceEvent { choice: 0, update: update.clone() }).unwrap());
        drop(sender);
        let body = respond(receiver, 1, Plain).into_body();
        let bytes = pollster::block_on(axum::body::to_bytes(body, 1 << 20)).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn events_are_framed_and_end() {
        let piece = |text: &str| ChoiceUpdate::More(Piece { text: text.into(), ..Piece::default() });
        let whole = all(&[
            ChoiceUpdate::Started(0),
            piece("a\n\nb"),
            piece(""),
            ChoiceUpdate::Finished("stop", 2),
            piece("never"),
        ]);
        let expected =
            ["\"begin\"", "\"a\\n\\nb\"", "\"\"", "\"end\"", "[DONE]"].map(|data| format!("data: {data}\n\n"));
        assert_eq!(whole, expected.concat());
        assert!(all(&[piece("a")]).ends_with("\"type\":\"server_error\"}}\n\n"), "a channel that closes early is told");
        assert!(all(&[ChoiceUpdate::Failed("why".into())]).contains("\"message\":\"why\""));
    }

    #[test]
    fn a_stream_that_waits_shows_that_it_lives() {
        // While nothing is ready, the body must wait without being polled in a loop.
        let (_sender, receiver) = crate::answer::events(1);
        let mut events = Events { receiver, shape: Plain, left: 1, begun: true, ended: false, beat: None };
        let mut poll = || Pin::new(&mut events).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            assert!(poll().is_pending() && poll().is_pending());
        });
        {
            let _inside = runtime.enter();
            events.beat = Some(Box::pin(tokio::time::sleep(Duration::ZERO)));
        }
        let frame = runtime.block_on(std::future::poll_fn(|cx| Pin::new(&mut events).poll_frame(cx)));
        let data = frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
        assert_eq!(data, Some(Bytes::from(": waiting\n\n")));
    }
}
