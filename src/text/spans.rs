//! A conversation as tokens, with those that the assistant says marked.
//!
//! Whatever the Jinja template does, at inference the model continues `render(messages[..i], generation prompt)`, so
//! that is where answer i begins: the tokens of this prefix must be a prefix of the whole conversation's tokens. The
//! answer extends as far as `render(messages[..=i])` agrees with the whole, up to the last token in it that ends an
//! answer. This property fails for templates that rewrite earlier turns (some drop the reasoning of all answers but the
//! last) and for tokens that merge across the border. In those cases the answer's own text is searched for, after the
//! previous answer, and the token that ends it is included if it follows immediately.
#![expect(clippy::indexing_slicing, reason = "ranges of messages and tokens that were found in them")]

use super::{ChatTemplate, Message, Tokenizer, conversations::Mistake, messages::Turn};
use crate::Error;

/// A conversation to train on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Which of them are trained on.
    pub said: Vec<bool>,
}

/// Encodes a conversation and marks the tokens of the assistant's messages that are learned, including the one of `stops`
/// that ends each of them.
///
/// # Errors
/// Returns the errors of [`encode`].
pub fn encode_turns(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    stops: &[u32],
    turns: &[Turn],
) -> Result<Example, (Mistake, String)> {
    let messages: Vec<_> = turns.iter().map(|turn| turn.message.clone()).collect();
    marked(tokenizer, template, stops, &messages, |index| turns[index].learned)
}

/// Encodes `messages` and marks the assistant's tokens, including the one of `stops` that ends each answer.
///
/// # Errors
/// Returns the mistake that makes the conversation unusable, with an example.
pub fn encode(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    stops: &[u32],
    messages: &[Message],
) -> Result<Example, (Mistake, String)> {
    marked(tokenizer, template, stops, messages, |_| true)
}

/// Encodes `messages` and marks the answers whose index is `learned`.
fn marked(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    stops: &[u32],
    messages: &[Message],
    learned: impl Fn(usize) -> bool,
) -> Result<Example, (Mistake, String)> {
    let render = |messages: &[Message], prompt| template.render(messages, prompt).map_err(mistake);
    let tokens = |text: &str| tokenizer.encode_special(text).map_err(mistake);
    let ids = tokens(&render(messages, false)?)?;
    let mut said = vec![false; ids.len()];
    let mut done = 0;
    for (index, message) in messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
        // A template may refuse a prefix of a conversation that it accepts as a whole.
        let before = render(&messages[..index], true).and_then(|text| tokens(&text)).unwrap_or_default();
        let after = render(&messages[..=index], false).and_then(|text| tokens(&text)).unwrap_or_default();
        let same = ids.iter().zip(&after).take_while(|(a, b)| a == b).count();
        let stable = !before.is_empty() && ids.starts_with(&before) && before.len() >= done && same > before.len();
        let span = match stable {
            true => {
                let last = ids[before.len()..same].iter().rposition(|id| stops.contains(id));
                before.len()..last.map_or(same, |last| before.len() + last + 1)
            }
            false => by_text(tokenizer, &ids, done, message.content.trim(), stops)
                .ok_or_else(|| (Mistake::Untraceable, message.content.chars().take(40).collect()))?,
        };
        done = span.end;
        said[span].fill(learned(index));
    }
    Ok(Example { ids, said })
}

fn mistake(error: Error) -> (Mistake, String) {
    match error {
        Error::Template(reason) => (Mistake::Refused, reason),
        other => (Mistake::UnknownCharacter, other.to_string()),
    }
}

/// The tokens from `first` on that overlap the first occurrence of `text`, and the stop token if one follows it.
fn by_text(
    tokenizer: &Tokenizer,
    ids: &[u32],
    first: usize,
    text: &str,
    stops: &[u32],
) -> Option<std::ops::Range<usize>> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for &id in &ids[first..] {
        bytes.extend(tokenizer.token_bytes(id));
        ends.push(bytes.len());
    }
    let start = bytes.windows(text.len().max(1)).position(|window| window == text.as_bytes())?;
    let begin = ends.partition_point(|&end| end <= start);
    let end = ends.partition_point(|&end| end < start + text.len()) + 1;
    let stop = ids.get(first + end).is_some_and(|id| stops.contains(id));
    Some(first + begin..first + end + usize::from(stop))
}

#[cfg(test)]
mod tests {
    use super::{super::chat::SpecialTokens, *};

    fn said(tokenizer: &Tokenizer, template: &str, eos: &str, stops: &[u32]) -> Vec<String> {
        let messages = [
            Message::new("system", "Be x."),
            Message::new("user", "ab"),
            Message::new("assistant", "cd ab"),
            Message::new("user", "ab"),
            Message::new("assistant", "ab"),
        ];
        let template =
            ChatTemplate::new(template, SpecialTokens { eos: eos.to_string(), ..Default::default() }).unwrap();
        let example = encode(tokenizer, &template, stops, &messages).unwrap();
        let mut spans: Vec<Vec<u32>> = Vec::new();
        for t in 0..example.ids.len() {
            if example.said[t] {
                if t == 0 || !example.said[t - 1] {
                    spans.push(Vec::new());
                }
                spans.last_mut().unwrap().push(example.ids[t]);
            }
        }
        spans.iter().map(|span| tokenizer.decode(span)).collect()
    }

    const TEXT: &str = "the cat sat on the mat, and User: said Assistant: ab cd ab cd, Be x.\n[/]{}<|>_ system\n";

    #[test]
    fn answers_are_found_in_stable_templates() {
        let chars = Tokenizer::chars_of([TEXT, "UAS"]).unwrap();
        let newline = chars.token_id("\n").unwrap();
        let lines = super::super::chat::LINES;
        assert_eq!(said(&chars, lines, "", &[newline]), ["cd ab\n", "ab\n"]);
        let special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"];
        let bpe = Tokenizer::train_bpe([TEXT; 4].into_iter(), 300, &special).unwrap();
        assert_eq!(said(&bpe, super::super::chat::CHATML, "", &[1]), ["cd ab<|im_end|>", "ab<|im_end|>"]);
        let ends = "<|endoftext|>";
        assert_eq!(
            said(&bpe, super::super::chat::TURNS, ends, &[2]),
            ["cd ab<|endoftext|>", "ab<|endoftext|>"],
            "without special tokens round the roles"
        );
    }

    #[test]
    fn answers_of_weight_0_are_not_learned() {
        let chars = Tokenizer::chars_of([TEXT, "UAS"]).unwrap();
        let template = ChatTemplate::new(super::super::chat::LINES, SpecialTokens::default()).unwrap();
        let turn = |role: &str, text: &str, learned| Turn { message: Message::new(role, text), learned };
        let turns = [
            turn("user", "ab", true),
            turn("assistant", "cd", false),
            turn("user", "ab", true),
            turn("assistant", "ab cd", true),
        ];
        let example = encode_turns(&chars, &template, &[chars.token_id("\n").unwrap()], &turns).unwrap();
        let said: Vec<_> =
            example.ids.iter().zip(&example.said).filter(|(_, said)| **said).map(|(id, _)| *id).collect();
        assert_eq!(chars.decode(&said), "ab cd\n");
    }

    #[test]
    fn answers_are_found_by_text_where_a_template_is_not_stable() {
        let special = ["<|im_start|>", "<|im_end|>"];
        let bpe = Tokenizer::train_bpe([TEXT; 4].into_iter(), 300, &special).unwrap();
        // The generation prompt opens a thought that no finished answer shows, and the template counts the messages.
        let odd = "[{{ messages|length }}]{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {think}{% endif %}";
        assert_eq!(said(&bpe, odd, "", &[1]), [" cd ab<|im_end|>", " ab<|im_end|>"]);
        let hides = ChatTemplate::new("{{ messages[0].content }}", SpecialTokens::default()).unwrap();
        let messages = [Message::new("user", "ab"), Message::new("assistant", "cd")];
        assert_eq!(encode(&bpe, &hides, &[], &messages).unwrap_err(), (Mistake::Untraceable, "cd".to_string()));
        let strict = ChatTemplate::new("{{ raise_exception('no') }}", SpecialTokens::default()).unwrap();
        assert_eq!(encode(&bpe, &strict, &[], &messages).unwrap_err().0, Mistake::Refused);
        let few = Tokenizer::chars_of(["abc"]).unwrap();
        let plain = ChatTemplate::new("{{ messages[1].content }}", SpecialTokens::default()).unwrap();
        assert_eq!(encode(&few, &plain, &[], &messages).unwrap_err().0, Mistake::UnknownCharacter);
    }
}
