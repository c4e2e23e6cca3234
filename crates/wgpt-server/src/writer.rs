//! Converts tokens to the text to show: whole characters only, and without the stop text that ends the answer.

use std::{collections::VecDeque, sync::Arc};

use super::{json::automaton::Json, stops::Stops};
use wgpt::{infer::engine::request::TokenEvent, interchange::TextCodec, text::StreamDecoder};

/// What is ready to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// The text; often empty while a character is incomplete, or while a stop text may have begun.
    pub text: String,
    /// The tokens that begin within the text shown so far, if they were requested.
    pub tokens: Vec<TokenEvent>,
    /// Whether the answer ends here.
    pub ended: bool,
}

/// Follows one answer.
pub struct Writer {
    codec: Arc<TextCodec>,
    decoder: StreamDecoder,
    stops: Stops,
    /// Ends the answer once its JSON value is complete.
    json: Option<Json>,
    /// Tokens whose beginning is not shown yet, with the position where they begin; [`None`] if tokens were not
    /// requested.
    waiting: Option<VecDeque<(usize, TokenEvent)>>,
    /// Number of bytes decoded, and number of bytes shown.
    decoded: usize,
    shown: usize,
}

impl Writer {
    /// A writer for a new answer, which ends at one of `stops` or, with `json`, when its JSON value is complete. With
    /// `tells` every piece includes its tokens.
    pub fn new(codec: Arc<TextCodec>, stops: Vec<String>, json: bool, tells: bool) -> Self {
        Self {
            codec,
            decoder: StreamDecoder::new(),
            stops: Stops::new(stops),
            json: json.then(Json::default),
            waiting: tells.then(VecDeque::new),
            decoded: 0,
            shown: 0,
        }
    }

    /// Adds a token.
    pub fn push(&mut self, told: TokenEvent) -> Piece {
        let bytes = self.codec.tokenizer.token_bytes(told.chosen.id);
        if let Some(waiting) = &mut self.waiting {
            waiting.push_back((self.decoded, told));
        }
        let text = self.decoder.push_bytes(&bytes);
        self.decoded += text.len();
        let (text, mut ended) = self.stops.push(&text);
        if let Some(json) = &mut self.json {
            *json = bytes.iter().try_fold(*json, |json, byte| json.step(*byte)).unwrap_or(*json);
            ended |= json.is_done();
        }
        self.shown += text.len();
        let tokens = self.begun(self.shown);
        Piece { text, tokens, ended }
    }

    /// Ends the answer and returns what was held back.
    pub fn finish(&mut self) -> Piece {
        let rest = self.decoder.finish();
        let (mut text, ended) = self.stops.push(&rest);
        if !ended {
            text += &self.stops.finish();
        }
        self.shown += text.len();
        let tokens = self.begun(if ended { self.shown } else { usize::MAX });
        Piece { text, tokens, ended: true }
    }

    /// Takes the waiting tokens that begin before `end`.
    fn begun(&mut self, end: usize) -> Vec<TokenEvent> {
        let Some(waiting) = &mut self.waiting else { return Vec::new() };
        let count = waiting.iter().take_while(|(begin, _)| *begin < end).count();
        waiting.drain(..count).map(|(_, told)| told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::{infer::sampler::Candidate, text::Tokenizer};

    fn told(id: u32) -> TokenEvent {
        TokenEvent { chosen: Candidate { id, logprob: -1.0 }, top: Vec::new() }
    }

    #[test]
    fn tokens_come_with_the_text_that_they_begin() {
        let bpe = Tokenizer::train_bpe(["x"].into_iter(), 256, &[]).unwrap();
        let codec = Arc::new(TextCodec::plain(bpe));
        let ids = codec.tokenizer.encode("a🦀bEND").unwrap();
        let mut writer = Writer::new(codec.clone(), vec!["END".into()], false, true);
        let mut counts = Vec::new();
        let mut text = String::new();
        for id in ids {
            let piece = writer.push(told(id));
            text += &piece.text;
            counts.push((piece.tokens.len(), piece.ended));
        }
        assert_eq!(text, "a🦀b");
        let crab = [(0, false), (0, false), (0, false), (4, false)];
        let expected = [&[(1, false)], &crab[..], &[(1, false)], &[(0, false), (0, false), (0, true)]].concat();
        assert_eq!(counts, expected, "tokens of the stop are not told");

        let mut writer = Writer::new(codec.clone(), Vec::new(), true, false);
        let ended: Vec<_> =
            codec.tokenizer.encode("{} ").unwrap().into_iter().map(|id| writer.push(told(id)).ended).collect();
        assert_eq!(ended, [false, true, true]);
        let mut writer = Writer::new(codec, vec!["ab".into()], false, true);
        assert_eq!(writer.push(told(65)).text + &writer.finish().text, "b".to_string());
    }
}
