//! From the engine's thread to a handler: what happens to one choice, through a channel with an end.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    metrics::Metrics,
    writer::{Piece, Writer},
};
use crate::infer::{engine::request::Event, generate::Finish};

/// Events of a choice that wait for its client. Whoever is further behind has stopped reading, and is cancelled.
const BEHIND: usize = 1024;

/// What happened to a choice.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Its prompt is read; so many tokens of it were in the cache.
    Started(usize),
    /// More of its text.
    More(Piece),
    /// The end: OpenAI's reason, and how many tokens were generated.
    Finished(&'static str, usize),
    /// The end: what went wrong.
    Failed(String),
}

/// News of one of several choices.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Which one, from 0.
    pub choice: usize,
    /// What happened to it.
    pub news: News,
}

/// A channel for the news of one request with so many choices.
pub fn news(choices: usize) -> (Sender<Heard>, Receiver<Heard>) {
    channel(BEHIND * choices.max(1))
}

/// What the engine calls for choice number `choice`: false as soon as nobody reads, or the answer is complete.
pub fn listener(
    choice: usize,
    mut writer: Writer,
    sender: Sender<Heard>,
    metrics: Arc<Metrics>,
) -> Box<dyn FnMut(Event) -> bool + Send> {
    let (mut tokens, mut ended, mut last) = (0, false, Instant::now());
    let tell = move |news: News| sender.try_send(Heard { choice, news }).is_ok();
    Box::new(move |event| {
        if ended {
            return false;
        }
        match event {
            Event::Started { cached } => tell(News::Started(cached)),
            Event::Token(told) => {
                let latency = if tokens == 0 { &metrics.first_token } else { &metrics.next_token };
                latency.observe(last.elapsed());
                (tokens, last) = (tokens + 1, Instant::now());
                let piece = writer.push(told);
                ended = piece.ended;
                let heard = (piece.text.is_empty() && piece.tokens.is_empty()) || tell(News::More(piece));
                let finished = ended && heard && tell(News::Finished("stop", tokens));
                heard && !finished && !ended
            }
            Event::Finished(Finish::Interrupted) => tell(News::Failed("the request was cancelled".to_string())),
            Event::Finished(finish) => {
                let rest = writer.finish();
                let more = rest.text.is_empty() && rest.tokens.is_empty();
                let reason = if finish == Finish::Stop { "stop" } else { "length" };
                (more || tell(News::More(rest))) && tell(News::Finished(reason, tokens))
            }
            Event::Failed(reason) => tell(News::Failed(reason)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        infer::{engine::request::Told, sampler::Candidate},
        interchange::Language,
        text::Tokenizer,
    };

    fn token(id: u32) -> Event {
        Event::Token(Told { chosen: Candidate { id, logprob: 0.0 }, top: Vec::new() })
    }

    #[test]
    fn whoever_stops_reading_is_cancelled() {
        let language = Arc::new(Language::plain(Tokenizer::chars_of(["ab"]).unwrap()));
        let writer = |stops: &[&str]| {
            Writer::new(language.clone(), stops.iter().map(|stop| stop.to_string()).collect(), false, false)
        };
        let (sender, receiver) = news(1);
        let mut listens = listener(0, writer(&[]), sender, Arc::default());
        assert!((0..BEHIND).all(|_| listens(token(0))), "they wait in the channel");
        assert!(!listens(token(0)), "the channel has an end");
        drop(receiver);

        let (sender, mut receiver) = news(1);
        let mut listens = listener(3, writer(&["b"]), sender, Arc::default());
        assert!(listens(Event::Started { cached: 2 }) && listens(token(0)));
        assert!(!listens(token(1)), "a stop ends the request");
        assert!(!listens(Event::Finished(Finish::Interrupted)), "and nothing is told after it");
        let mut all = Vec::new();
        while let Ok(Heard { choice: 3, news }) = receiver.try_recv() {
            all.push(news);
        }
        let more = News::More(Piece { text: "a".into(), ..Piece::default() });
        assert_eq!(all[..2], [News::Started(2), more]);
        assert_eq!(all.last(), Some(&News::Finished("stop", 2)));
    }
}
