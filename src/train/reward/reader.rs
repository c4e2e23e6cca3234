//! A prompt and an answer, encoded as a reward model reads them.

use crate::{
    Error, Result,
    interchange::TextCodec,
    text::{
        ChatTemplate, Message,
        conversations::Mistake,
        spans::{self, Example},
    },
};

/// How a reward model reads texts.
#[derive(Debug)]
pub struct Reader {
    codec: TextCodec,
    /// `None` for a model that was not taught to chat: it reads just the text.
    template: Option<ChatTemplate>,
    /// Maximum number of tokens in a text.
    pub context: usize,
}

/// A text to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its tokens, at least one.
    pub ids: Vec<u32>,
    /// How many were dropped at the front because it was longer than the context.
    pub dropped: usize,
}

impl Reader {
    /// Creates a reader of texts of up to `context` tokens.
    ///
    /// # Errors
    /// [`Error::Template`] for a chat template that cannot be read, [`Error::Config`] for a context of 0.
    pub fn new(codec: &TextCodec, context: usize) -> Result<Self> {
        if context == 0 {
            return Err(Error::Config("a context of 0 tokens: give at least 1".to_string()));
        }
        let TextCodec { tokenizer, conventions } = codec;
        let template = conventions.talk(tokenizer)?;
        Ok(Self { codec: codec.clone(), template, context })
    }

    /// The model's codec.
    pub fn codec(&self) -> &TextCodec {
        &self.codec
    }

    /// Encodes the conversation up to the token that ends the answer; without a chat template, the texts one after the
    /// other. Of a conversation longer than the context, the end is kept: the answer, and as much of the prompt as
    /// there is room for.
    ///
    /// # Errors
    /// Why it cannot be read, with an example.
    pub fn read(&self, prompt: &[Message], answer: &str) -> Result<Text, (Mistake, String)> {
        let TextCodec { tokenizer, conventions } = &self.codec;
        let unknown = |error: Error| (Mistake::UnknownCharacter, error.to_string());
        let refused = |error: Error| (Mistake::Refused, error.to_string());
        let mut ids = match &self.template {
            Some(template) => {
                let mut messages = prompt.to_vec();
                messages.push(Message::new("assistant", answer));
                let found = match spans::encode(tokenizer, template, &conventions.stops, &messages) {
                    // An answer that the template does not reproduce verbatim, such as one of spaces, is judged as the
                    // template shows it.
                    Err((Mistake::Untraceable, _)) => None,
                    other => Some(other?).filter(|example| example.said.contains(&true)),
                };
                match found {
                    Some(Example { mut ids, said }) => {
                        ids.truncate(said.iter().rposition(|said| *said).map_or(ids.len(), |last| last + 1));
                        ids
                    }
                    None => {
                        let text = template.render(&messages, false).map_err(refused)?;
                        tokenizer.encode_special(&text).map_err(unknown)?
                    }
                }
            }
            None => {
                let text: String = prompt.iter().map(|message| message.content.as_str()).chain([answer]).collect();
                let bos = conventions.bos.filter(|_| conventions.add_bos);
                bos.into_iter().chain(tokenizer.encode(&text).map_err(unknown)?).collect()
            }
        };
        if ids.is_empty() {
            return Err((Mistake::EmptyAnswer, String::new()));
        }
        let dropped = ids.len().saturating_sub(self.context);
        ids.drain(..dropped);
        Ok(Text { ids, dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    #[test]
    fn a_text_ends_with_its_answer_and_loses_its_front() {
        let chars = Tokenizer::chars_of(["abc:\nUser Asistnt."]).unwrap();
        let prompt = [Message::new("user", "ab")];
        let plain = TextCodec::plain(chars.clone());
        let read = |codec: &TextCodec, context| {
            let text = Reader::new(codec, context).unwrap().read(&prompt, "ca").unwrap();
            (chars.decode(&text.ids), text.dropped)
        };
        assert_eq!(read(&plain, 9), ("abca".to_string(), 0));
        assert_eq!(read(&plain, 3), ("bca".to_string(), 1));
        let taught = TextCodec { conventions: plain.conventions.taught(&chars).unwrap(), ..plain.clone() };
        assert_eq!(read(&taught, 99), ("User:\nab\nAssistant:\nca\n".to_string(), 0));
        let blank = Reader::new(&taught, 99).unwrap().read(&prompt, " ").unwrap();
        assert!(chars.decode(&blank.ids).starts_with("User:\nab\nAssistant:"));
        assert_eq!(read(&taught, 5), (":\nca\n".to_string(), 18));
        let unknown = Reader::new(&plain, 9).unwrap().read(&prompt, "Z").unwrap_err();
        assert_eq!(unknown.0, Mistake::UnknownCharacter);
        assert!(Reader::new(&plain, 0).is_err());
    }
}
