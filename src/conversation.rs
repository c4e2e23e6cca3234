//! A conversation with a model, and the session that holds it.

use crate::{
    Result,
    infer::{
        generate::{Generated, Limits, generate},
        sampler::{Candidate, Sampling, top},
        session::Session,
    },
    interchange::TextCodec,
    text::{ChatTemplate, Message, StreamDecoder, Tokenizer},
};

/// Number of candidates that `/why` shows.
const CANDIDATES: usize = 10;

/// The alternatives from which one token was chosen.
pub struct Choice {
    /// The chosen token.
    pub id: u32,
    /// The most likely tokens, at the temperature of the answer.
    pub candidates: Vec<Candidate>,
    /// The answer's temperature.
    pub temperature: f32,
}

/// An answer and how it came about.
pub struct Answer {
    /// The answer's text.
    pub text: String,
    /// The tokens of the whole conversation before it.
    before: Vec<u32>,
    /// Number of those that the session already held before the question.
    known: usize,
    /// The answer's tokens, and why it ended.
    pub generated: Generated,
    /// The settings it was drawn with; the seed differs for each answer.
    pub sampling: Sampling,
    /// Messages for the user, such as that old text was dropped.
    pub notes: Vec<String>,
}

impl Answer {
    /// The tokens of the question, including what the template puts around it.
    pub fn prompt(&self) -> &[u32] {
        &self.before[self.known..]
    }
}

/// The messages so far, and a model that continues them.
pub struct Conversation<'a> {
    session: Session<'a>,
    codec: &'a TextCodec,
    template: Option<ChatTemplate>,
    messages: Vec<Message>,
    window: usize,
    max_tokens: usize,
    draws: u64,
    /// The sampling settings of answers.
    pub sampling: Sampling,
}

impl<'a> Conversation<'a> {
    /// An empty conversation with answers of up to `max_tokens`.
    ///
    /// # Errors
    /// [`crate::Error::Template`] if the template cannot be parsed.
    pub fn new(session: Session<'a>, codec: &'a TextCodec, sampling: Sampling, max_tokens: usize) -> Result<Self> {
        let template = codec.conventions.talk(&codec.tokenizer)?;
        Ok(Self {
            window: session.window(),
            session,
            codec,
            template,
            messages: Vec::new(),
            max_tokens,
            draws: 0,
            sampling,
        })
    }

    /// A warning if the model was not trained to chat.
    pub fn warning(&self) -> Option<&'static str> {
        self.template.is_none().then_some(
            "this model has no chat template: it was not taught to answer, and just goes on with what you write",
        )
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.codec.tokenizer
    }

    /// The system message, if there is one.
    pub fn system(&self) -> Option<&Message> {
        self.messages.first().filter(|message| message.role == "system")
    }

    /// Forgets everything and restarts the conversation with `messages`, such as a system message or an older
    /// conversation.
    pub fn restart(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.messages = messages.into_iter().collect();
    }

    /// Adds a user message and streams the answer to `each`, which returns whether to continue. The text so far is kept
    /// even if the answer is cut off. `progress` is called with the number of prompt tokens read and their total.
    ///
    /// # Errors
    /// [`crate::Error::Template`] if the template refuses the message, and the driver's errors.
    pub async fn say(
        &mut self,
        said: &str,
        progress: impl FnMut(usize, usize),
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<Answer> {
        self.messages.push(Message::new("user", said));
        let mut notes = Vec::new();
        let rendered = self.rendered(&mut notes);
        let prompt = match rendered {
            Ok(prompt) => prompt,
            Err(error) => {
                self.messages.pop();
                return Err(error);
            }
        };
        let known = self.session.tokens().iter().zip(&prompt).take_while(|(a, b)| a == b).count();
        let (tokenizer, stops) = (&self.codec.tokenizer, &self.codec.conventions.stops);
        let mut decoder = StreamDecoder::new();
        // Each answer gets its own random draws.
        self.draws += 1;
        let sampling = Sampling { seed: self.sampling.seed.wrapping_add(self.draws << 32), ..self.sampling };
        let limits = Limits { count: self.max_tokens, stops, scores: false };
        let generated = generate(&mut self.session, &prompt, limits, &sampling, progress, |step| {
            each(&decoder.push(tokenizer, step.chosen.id))
        })
        .await?;
        let rest = decoder.finish();
        if !rest.is_empty() {
            each(&rest);
        }
        if generated.full {
            notes.push(format!("the window of {} tokens was full: older text was dropped", self.window));
        }
        let text = tokenizer.decode(&generated.tokens);
        self.messages.push(Message::new("assistant", &text));
        Ok(Answer { text, before: prompt, known, generated, sampling, notes })
    }

    /// What token `index` of `answer` was chosen from; [`None`] if the answer is shorter. The scores are computed again
    /// on request, so that answers are not slowed down by collecting them.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn why(&mut self, answer: &Answer, index: usize) -> Result<Option<Choice>> {
        let tokens = &answer.generated.tokens;
        let Some(&id) = tokens.get(index) else { return Ok(None) };
        let text = [&answer.before[..], &tokens[..index]].concat();
        let logits = self.session.become_text(&text, |_, _| ()).await?.to_f32().await?;
        let temperature = answer.sampling.temperature;
        Ok(Some(Choice { id, candidates: top(&logits, CANDIDATES, temperature), temperature }))
    }

    /// The tokens of the conversation so far, ready to be continued by an answer. If they do not fit in the window, the
    /// oldest exchanges are dropped, and `notes` says so.
    ///
    /// # Errors
    /// [`crate::Error::Template`], [`crate::Error::Tokenizer`].
    pub fn rendered(&mut self, notes: &mut Vec<String>) -> Result<Vec<u32>> {
        let (tokenizer, conventions) = (&self.codec.tokenizer, &self.codec.conventions);
        let room = self.window - self.max_tokens.min(self.window / 2);
        let first = usize::from(self.system().is_some());
        let mut dropped = 0;
        loop {
            let ids = match &self.template {
                Some(template) => tokenizer.encode_special(&template.render(&self.messages, true)?)?,
                None => {
                    let text: Vec<_> = self.messages.iter().map(|message| message.content.as_str()).collect();
                    let bos = conventions.bos.filter(|_| conventions.add_bos);
                    bos.into_iter().chain(tokenizer.encode(&text.concat())?).collect()
                }
            };
            if ids.len() <= room || self.messages.len() <= first + 2 {
                if dropped > 0 {
                    notes.push(format!(
                        "the window of {} tokens is full: {} dropped",
                        self.window,
                        match dropped {
                            1 => "an old message was".to_string(),
                            _ => format!("{dropped} old messages were"),
                        }
                    ));
                }
                return Ok(ids);
            }
            let exchange = 2.min(self.messages.len() - first - 1);
            self.messages.drain(first..first + exchange);
            dropped += exchange;
        }
    }
}

/// The README's program runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
