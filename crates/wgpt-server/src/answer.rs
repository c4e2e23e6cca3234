//! Passes the updates of one choice from the engine's thread to a handler, through a bounded channel.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    metrics::Metrics,
    writer::{Piece, Writer},
};
use wgpt::infer::{engine::request::Event, generate::Finish};

/// Number of a choice's events that may wait for its client. A client further behind has stopped reading, and its
/// request is cancelled.
const BEHIND: usize = 1024;

/// An update of a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum ChoiceUpdate {
    /// Its prompt has been read; this many of its tokens were in the cache.
    Started(usize),
    /// More of its text.
    More(Piece),
    /// It ended: OpenAI's reason, and the number of generated tokens.
    Finished(&'static str, usize),
    /// It failed, with the reason.
    Failed(String),
}

/// An update of one of several choices.
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceEvent {
    /// The choice's index, from 0.
    pub choice: usize,
    /// The update.
    pub update: ChoiceUpdate,
}

/// A channel for the events of one request with `choices` choices.
pub fn events(choices: usize) -> (Sender<ChoiceEvent>, Receiver<ChoiceEvent>) {
    channel(BEHIND * choices.max(1))
}

/// The engine's callback for choice number `choice`; it returns false once nobody reads or the answer is complete.
pub fn listener(
    choice: usize,
    mut writer: Writer,
    sender: Sender<ChoiceEvent>,
    metrics: Arc<Metrics>,
) -> Box<dyn FnMut(Event) -> bool + Send> {
    let (mut tokens, mut ended, mut last) = (0, false, Instant::now());
    let tell = move |update: ChoiceUpdate| sender.try_send(ChoiceEvent { choice, update }).is_ok();
    Box::new(move |event| {
        if ended {
            return false;
        }
        match event {
            Event::Started { cached } => tell(ChoiceUpdate::Started(cached)),
            Event::Token(told) => {
                let latency = if tokens == 0 { &metrics.first_token } else { &metrics.next_token };
                latency.observe(last.elapsed());
                (tokens, last) = (tokens + 1, Instant::now());
                let piece = writer.push(told);
                ended = piece.ended;
                let heard = (piece.text.is_empty() && piece.tokens.is_empty()) || tell(ChoiceUpdate::More(piece));
                let finished = ended && heard && tell(ChoiceUpdate::Finished("stop", tokens));
                heard && !finished && !ended
            }
            Event::Finished(Finish::Interrupted) => tell(ChoiceUpdate::Failed("the request was cancelled".to_string())),
            Event::Finished(finish) => {
                let rest = writer.finish();
                let more = rest.text.is_empty() && rest.tokens.is_empty();
                let reason = if finish == Finish::Stop { "stop" } else { "length" };
                (more || tell(ChoiceUpdate::More(rest))) && tell(ChoiceUpdate::Finished(reason, tokens))
            }
            Event::Failed(reason) => tell(ChoiceUpdate::Failed(reason)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::{
        infer::{engine::request::TokenEvent, sampler::Candidate},
        interchange::TextCodec,
        text::Tokenizer,
    };

    fn token(id: u32) -> Event {
        Event::Token(TokenEvent { chosen: Candidate { id, logprob: 0.0 }, top: Vec::new() })
    }

    #[test]
    fn a_client_that_stops_reading_is_cancelled() {
        let codec = Arc::new(TextCodec::plain(Tokenizer::chars_of(["ab"]).unwrap()));
        let writer = |stops: &[&str]| {
            Writer::new(codec.clone(), stops.iter().map(|stop| stop.to_string()).collect(), false, false)
        };
        let (sender, receiver) = events(1);
        let mut listens = listener(0, writer(&[]), sender, Arc::default());
        assert!((0..BEHIND).all(|_| listens(token(0))), "they wait in the channel");
        assert!(!listens(token(0)), "the channel has an end");
        drop(receiver);

        let (sender, mut receiver) = events(1);
        let mut listens = listener(3, writer(&["b"]), sender, Arc::default());
        assert!(listens(Event::Started { cached: 2 }) && listens(token(0)));
        assert!(!listens(token(1)), "a stop ends the request");
        assert!(!listens(Event::Finished(Finish::Interrupted)), "and nothing is told after it");
        let mut all = Vec::new();
        while let Ok(ChoiceEvent { choice: 3, update }) = receiver.try_recv() {
            all.push(update);
        }
        let more = ChoiceUpdate::More(Piece { text: "a".into(), ..Piece::default() });
        assert_eq!(all[..2], [ChoiceUpdate::Started(2), more]);
        assert_eq!(all.last(), Some(&ChoiceUpdate::Finished("stop", 2)));
    }
}
