//! `/v1/completions`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    ask::{Choice, Reporting, ask, gather},
    envelope::Envelope,
    logprobs,
    options::{self, Options},
    stream::{self, Shape},
};
use crate::{
    answer::{ChoiceEvent, ChoiceUpdate},
    app::{App, ServedModel},
    input::Fields,
    pieces::pieces,
    problem::Problem,
    router::{self, ReadRequest},
};

/// OpenAI's default for `max_tokens`.
const USUAL: usize = 16;

/// The fields that are read here.
const FIELDS: &[&str] = &["prompt", "best_of", "logprobs", "echo"];

/// The object type of answers.
const OBJECT: &str = "text_completion";

/// Maximum total number of answers to all prompts of a request.
const MOST: usize = 64;

/// Continues texts.
///
/// # Errors
/// A [`Problem`] in OpenAI's shape.
pub async fn complete(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let ReadRequest { fields, spent, client } = router::asked(&app, request).await?;
    let model = app.model(fields.text("model")?)?;
    let vocabulary = app.facts.config.vocabulary;
    let options = Options::read(&fields, &app.limits, &app.secrets, vocabulary)?;
    fields.refuse("suffix", "leave it out: the model writes from left to right")?;
    fields.refuse_others(&[options::FIELDS, options::IGNORED, FIELDS])?;
    if fields.integer("best_of", 1..=MOST as u64)?.is_some_and(|best| best != options.choices as u64) {
        return Err(Problem::field("best_of", "is not supported; request n answers and choose one"));
    }
    let top = fields.integer("logprobs", 0..=5)?;
    let telling = Reporting { tokens: top.is_some(), top: top.unwrap_or(0) as usize };
    let echo = fields.flag("echo")?;
    if echo && telling.tokens {
        return Err(Problem::field("echo", "cannot be combined with logprobs"));
    }
    let reader = model.clone();
    let prompts = App::aside(move || prompts(&reader, fields.need("prompt")?, vocabulary)).await?;
    if prompts.len() * options.choices > MOST {
        return Err(Problem::field("prompt", format!("at most {MOST} answers are allowed in one request")));
    }
    prompts.iter().for_each(|prompt| spent.prompt(prompt.len()));
    let receiver = ask(&app, client, &model, &prompts, &options, telling, USUAL)?;
    let echoed = |prompt: &Vec<u32>| if echo { model.codec.tokenizer.decode(prompt) } else { String::new() };
    let all = prompts.len() * options.choices;
    let form = Form {
        envelope: Envelope::new("cmpl", &app, &model, &options, spent),
        echoed: prompts.iter().map(echoed).collect(),
        offsets: vec![0; all],
        model,
        telling,
        choices: options.choices,
    };
    if options.stream {
        return Ok(stream::respond(receiver, all, form));
    }
    let choices = gather(receiver, prompts.len(), options.choices, &form.envelope.spent).await?;
    Ok(form.whole(choices))
}

/// Reads `prompt`: a text, a list of texts, a list of tokens, or a list of lists of tokens.
fn prompts(model: &ServedModel, value: &Value, vocabulary: usize) -> Result<Vec<Vec<u32>>, Problem> {
    let text = |text: &str| Ok(model.codec.read(text)?);
    let one = |value: &Value| match value {
        Value::String(string) => text(string),
        Value::Array(ids) => Fields::ids("prompt", ids, vocabulary),
        _ => Err(Problem::field("prompt", "must be a text, tokens, or a list of either")),
    };
    let prompts = match value {
        Value::Array(list) if list.iter().all(Value::is_number) => vec![one(value)?],
        Value::Array(list) => list.iter().take(MOST + 1).map(one).collect::<Result<_, _>>()?,
        value => vec![one(value)?],
    };
    match prompts.iter().any(Vec::is_empty) {
        true => Err(Problem::field("prompt", "is empty; give at least one token to continue")),
        false => Ok(prompts),
    }
}

/// How answers are formatted.
struct Form {
    envelope: Envelope,
    model: Arc<ServedModel>,
    telling: Reporting,
    /// The text of each prompt, if it is echoed.
    echoed: Vec<String>,
    /// The position where the next token of each choice begins.
    offsets: Vec<usize>,
    choices: usize,
}

impl Form {
    fn choice(
        &mut self,
        index: usize,
        text: &str,
        tokens: &[wgpt::infer::engine::request::TokenEvent],
        reason: Option<&str>,
    ) -> Value {
        let logprobs = match self.telling.tokens {
            true => logprobs::completion(&self.model.codec.tokenizer, tokens, &mut self.offsets[index]),
            false => Value::Null,
        };
        json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason })
    }

    /// The complete answer. Choices, of which there may be many, are written while the client reads.
    fn whole(mut self, choices: Vec<Choice>) -> Response {
        let (before, after) = self.envelope.around(OBJECT);
        let choice = move |(index, choice): (usize, Choice)| {
            let text = format!("{}{}", self.echoed[index / self.choices], choice.text);
            let comma = if index > 0 { "," } else { "" };
            format!("{comma}{}", self.choice(index, &text, &choice.tokens, Some(choice.reason)))
        };
        let choices = choices.into_iter().enumerate().map(choice);
        let all = std::iter::once(before).chain(choices).chain(std::iter::once(after));
        pieces("application/json", all.map(|piece| Ok(piece.into_bytes())))
    }
}

impl Shape for Form {
    fn begin(&mut self) -> String {
        let mut text = String::new();
        for index in 0..self.offsets.len() {
            let echoed = self.echoed[index / self.choices].clone();
            if !echoed.is_empty() {
                let choice = self.choice(index, &echoed, &[], None);
                text += &self.envelope.chunk(OBJECT, choice);
            }
        }
        text
    }

    fn heard(&mut self, heard: &ChoiceEvent) -> String {
        self.envelope.spent.heard(heard, self.choices);
        let choice = match &heard.update {
            ChoiceUpdate::More(piece) => self.choice(heard.choice, &piece.text, &piece.tokens, None),
            ChoiceUpdate::Finished(reason, _) => self.choice(heard.choice, "", &[], Some(reason)),
            _ => return String::new(),
        };
        self.envelope.chunk(OBJECT, choice)
    }

    fn end(&mut self) -> String {
        self.envelope.end(OBJECT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::{interchange::TextCodec, text::Tokenizer};

    #[test]
    fn prompts_are_texts_or_tokens() {
        let codec = TextCodec::plain(Tokenizer::chars_of(["abc"]).unwrap());
        let model = ServedModel::new("tiny".into(), None, codec);
        let read = |value: Value| prompts(&model, &value, 3);
        assert_eq!(read(json!("ab")).unwrap(), [[0, 1]]);
        assert_eq!(read(json!(["ab", "ca"])).unwrap(), [[0, 1], [2, 0]]);
        assert_eq!(read(json!([2, 0, 1])).unwrap(), [[2, 0, 1]]);
        assert_eq!(read(json!([[2], [1, 1]])).unwrap(), [vec![2], vec![1, 1]]);
        for wrong in [json!(""), json!([]), json!([[]]), json!([3]), json!([-1]), json!({}), json!("x"), json!([1.5])] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
