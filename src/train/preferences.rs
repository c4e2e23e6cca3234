//! Preferences as tokens: two rows each, which end with the answer. DPO and the reward model learn from them.

use std::fmt;

use crate::{
    Result,
    feedback::{Preference, Prompt, Tally},
    interchange::TextCodec,
    random,
    text::{Batch, ChatTemplate, Message, batches::IGNORED, conversations::Mistake, spans, tokenizer::Hasher},
};

/// The random streams of the held-out split and of the order of epochs.
const HELD_OUT: u64 = u64::from_le_bytes(*b"prompts ");
const ORDER: u64 = u64::from_le_bytes(*b"pairs of");

/// Why a preference cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unusable {
    /// The chat template rejects it.
    Refused,
    /// It contains a character that the tokenizer does not know.
    UnknownCharacter,
    /// The answer cannot be located in the chat template's output.
    Untraceable,
    /// Both answers are the same tokens.
    Equal,
    /// An answer alone exceeds the context.
    TooLong,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the chat template refuses it",
            Self::UnknownCharacter => "the tokenizer does not know a character of it",
            Self::Untraceable => "the chat template does not show an answer as it stands",
            Self::Equal => "chosen and rejected are the same tokens",
            Self::TooLong => "an answer alone does not fit the context",
        })
    }
}

/// A prompt and an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Their tokens.
    pub ids: Vec<u32>,
    /// Where the answer begins, at 1 or later. It extends to the end, including the token that ends it if there is one.
    pub answer: usize,
}

/// Two answers to one prompt; both rows begin with the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The better answer.
    pub chosen: Row,
    /// The worse answer.
    pub rejected: Row,
    /// A hash of the prompt's messages: all pairs of one prompt have the same.
    pub prompt: u64,
}

/// Encodes prompts and answers as a model reads them: with its chat template or, for a model that was not taught to
/// chat, one after the other, followed by the token that ends texts.
pub struct Writer<'a> {
    codec: &'a TextCodec,
    template: Option<ChatTemplate>,
}

impl<'a> Writer<'a> {
    /// Creates a writer for `codec`.
    ///
    /// # Errors
    /// [`crate::Error::Template`] for a template that cannot be read.
    pub fn new(codec: &'a TextCodec) -> Result<Self> {
        let TextCodec { tokenizer, conventions } = codec;
        let template = conventions.talk(tokenizer)?;
        Ok(Self { codec, template })
    }

    /// Encodes `answer` to `prompt`, however long.
    ///
    /// # Errors
    /// Why it cannot be encoded, with an example.
    pub fn row(&self, prompt: &Prompt, answer: &str) -> Result<Row, (Unusable, String)> {
        let row = self.written(prompt, answer)?;
        match 0 < row.answer && row.answer < row.ids.len() {
            true => Ok(row),
            false => Err((Unusable::Untraceable, answer.chars().take(40).collect())),
        }
    }

    fn written(&self, prompt: &Prompt, answer: &str) -> Result<Row, (Unusable, String)> {
        let TextCodec { tokenizer, conventions } = self.codec;
        let Some(template) = &self.template else {
            let tokens = |text: &str| tokenizer.encode(text).map_err(|e| (Unusable::UnknownCharacter, e.to_string()));
            let text: String = prompt.messages().iter().map(|message| message.content.as_str()).collect();
            let mut ids: Vec<_> = conventions.bos.filter(|_| conventions.add_bos).into_iter().collect();
            ids.extend(tokens(&text)?);
            let begin = ids.len();
            ids.extend(tokens(answer)?);
            ids.extend(conventions.eos);
            return Ok(Row { ids, answer: begin });
        };
        let messages = [prompt.messages(), &[Message::new("assistant", answer)]].concat();
        let spans::Example { mut ids, said } = spans::encode(tokenizer, template, &conventions.stops, &messages)
            .map_err(|(mistake, example)| match mistake {
                Mistake::Refused => (Unusable::Refused, example),
                Mistake::UnknownCharacter => (Unusable::UnknownCharacter, example),
                _ => (Unusable::Untraceable, example),
            })?;
        // What the template puts after the last answer does not belong to it.
        let end = said.iter().rposition(|said| *said).map_or(0, |last| last + 1);
        let begin = said[..end].iter().rposition(|said| !said).map_or(0, |before| before + 1);
        ids.truncate(end);
        Ok(Row { ids, answer: begin })
    }

    /// Encodes a preference as rows of at most `limit` tokens, and tells whether the prompt lost its beginning. Both
    /// rows lose the same number of tokens; the token that begins texts stays.
    ///
    /// # Errors
    /// Why it cannot be used, with an example.
    pub fn pair(&self, preference: &Preference, limit: usize) -> Result<(Pair, bool), (Unusable, String)> {
        let Preference { prompt, chosen, rejected } = preference;
        let (mut chosen, mut rejected) = (self.row(prompt, chosen)?, self.row(prompt, rejected)?);
        if chosen.ids == rejected.ids {
            return Err((Unusable::Equal, preference.chosen.chars().take(40).collect()));
        }
        let cut = chosen.ids.len().max(rejected.ids.len()).saturating_sub(limit);
        let bos = self.codec.conventions.bos;
        for row in [&mut chosen, &mut rejected] {
            let kept = usize::from(bos.is_some_and(|bos| row.ids[0] == bos));
            if cut > 0 && kept.max(1) + cut > row.answer {
                let answer = row.ids.len() - row.answer;
                return Err((Unusable::TooLong, format!("{answer} tokens where {limit} fit with a prompt")));
            }
            row.ids.drain(kept..kept + cut);
            row.answer -= cut;
        }
        let mut hasher = Hasher::default();
        for Message { role, content } in prompt.messages() {
            hasher.add(role.as_bytes());
            hasher.add(content.as_bytes());
        }
        Ok((Pair { chosen, rejected, prompt: hasher.finish() }, cut > 0))
    }
}

/// All pairs that can be learned from.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// In the order of the preferences.
    pub pairs: Vec<Pair>,
    /// What was left out; positions are numbers of preferences, counted from 1.
    pub left_out: Tally<Unusable>,
    /// How many prompts lost their beginning.
    pub truncated: usize,
}

impl Pairs {
    /// Encodes `preferences` as rows of at most `limit` tokens; see [`Writer`]. `progress` is called with the number
    /// done.
    ///
    /// # Errors
    /// [`crate::Error::Template`] for a template that cannot be read. Preferences that cannot be used are only counted.
    pub fn new(
        preferences: &[Preference],
        codec: &TextCodec,
        limit: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Self> {
        let (writer, mut all) = (Writer::new(codec)?, Self::default());
        for (index, preference) in preferences.iter().enumerate() {
            match writer.pair(preference, limit) {
                Ok((pair, truncated)) => {
                    all.pairs.push(pair);
                    all.truncated += usize::from(truncated);
                }
                Err((reason, example)) => all.left_out.add(reason, index as u64 + 1, example),
            }
            progress(index + 1);
        }
        Ok(all)
    }

    /// Number of tokens in the longest row.
    pub fn longest(&self) -> usize {
        self.rows().map(|row| row.ids.len()).max().unwrap_or(0)
    }

    /// Number of tokens in all answers.
    pub fn answer_tokens(&self) -> usize {
        self.rows().map(|row| row.ids.len() - row.answer).sum()
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected])
    }

    /// A hash of everything that is learned from.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Hasher::default();
        for row in self.rows() {
            hasher.add(bytemuck::cast_slice(&row.ids));
            hasher.add(&row.answer.to_le_bytes());
        }
        hasher.finish()
    }

    /// Splits the pairs into pairs to learn from and held-out pairs: all pairs of a share of `fraction` of the prompts
    /// (at least one prompt if any is asked for, and at most all but one), chosen by `seed`. No prompt has pairs in
    /// both parts.
    pub fn split(&self, fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
        let mut prompts: Vec<_> = self.pairs.iter().map(|pair| pair.prompt).collect();
        prompts.sort_unstable();
        prompts.dedup();
        let wanted = if fraction > 0.0 { ((prompts.len() as f64 * fraction).round() as usize).max(1) } else { 0 };
        random::shuffle(&mut prompts, seed, HELD_OUT, 0);
        let mut held = prompts.split_off(prompts.len() - wanted.min(prompts.len().saturating_sub(1)));
        held.sort_unstable();
        let is_held = |index: &u32| held.binary_search(&self.pairs[*index as usize].prompt).is_ok();
        (0..self.pairs.len() as u32).partition(|index| !is_held(index))
    }
}

/// An endless sequence of members: epoch after epoch, all of them in a new order. Depends only on the members and the
/// seed.
#[derive(Clone, Debug)]
pub struct Epochs {
    members: Vec<u32>,
    seed: u64,
    /// The last epoch that was asked for, and its order.
    current: Option<(u64, Vec<u32>)>,
}

impl Epochs {
    /// Epochs of `members`.
    pub fn new(members: Vec<u32>, seed: u64) -> Self {
        Self { members, seed, current: None }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// `count` members from position `first` of the sequence on; empty if there are no members.
    pub fn take(&mut self, first: u64, count: usize) -> Vec<u32> {
        let size = self.members.len() as u64;
        let count = if size == 0 { 0 } else { count as u64 };
        (first..first + count)
            .map(|place| {
                let (epoch, index) = (place / size, (place % size) as usize);
                if let Some((known, order)) = &self.current
                    && *known == epoch
                {
                    return order[index];
                }
                let mut order = self.members.clone();
                random::shuffle(&mut order, self.seed, ORDER, epoch);
                let member = order[index];
                self.current = Some((epoch, order));
                member
            })
            .collect()
    }
}

/// Stacks rows in a batch, padded at their ends to `length` inputs. The targets are the tokens of the answers.
pub fn padded<'a>(rows: impl IntoIterator<Item = &'a Row>, length: usize) -> Batch {
    let mut batch = Batch { inputs: Vec::new(), targets: Vec::new(), starts: None, rows: 0, context: length };
    for Row { ids, answer } in rows {
        batch.rows += 1;
        batch.inputs.extend(&ids[..ids.len() - 1]);
        batch.targets.extend(std::iter::repeat_n(IGNORED, answer - 1));
        batch.targets.extend(&ids[*answer..]);
        // No token attends to those after it, so the padding after a text can be anything.
        batch.inputs.resize(batch.rows * length, 0);
        batch.targets.resize(batch.rows * length, IGNORED);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Conventions, Tokenizer};

    fn preference(prompt: &str, chosen: &str, rejected: &str) -> Preference {
        let prompt = Prompt::text(prompt).unwrap();
        Preference { prompt, chosen: chosen.into(), rejected: rejected.into() }
    }

    fn codec(template: Option<&str>) -> TextCodec {
        let tokenizer = Tokenizer::chars_of(["abcdeu\n"]).unwrap();
        let newline = tokenizer.token_id("\n").unwrap();
        let template = template.map(str::to_string);
        let conventions = Conventions { eos: Some(newline), stops: vec![newline], template, ..Conventions::default() };
        TextCodec { tokenizer, conventions }
    }

    const TURNS: &str = "{% for m in messages %}{{ m.role[0] ~ m.content ~ '\n' }}{% endfor %}{% if add_generation_prompt %}a{% endif %}";

    #[test]
    fn rows_end_with_the_answer_and_the_token_that_ends_it() {
        for (template, text, answer) in [(Some(TURNS), "uab\nacd\n", 5), (None, "abcd\n", 2)] {
            let codec = codec(template);
            let row = Writer::new(&codec).unwrap().row(&Prompt::text("ab").unwrap(), "cd").unwrap();
            assert_eq!((codec.tokenizer.decode(&row.ids).as_str(), row.answer), (text, answer));
            let batch = padded([&row, &row], 9);
            assert_eq!((batch.rows, batch.inputs.len(), batch.targets.len()), (2, 18, 18));
            let targets = &batch.targets[9..];
            assert_eq!(targets[answer - 1..row.ids.len() - 1], row.ids[answer..]);
            assert_eq!(targets.iter().filter(|id| **id != IGNORED).count(), 3);
        }
        // In a longer conversation, only the last answer counts.
        let codec = codec(Some(TURNS));
        let talk = [("user", "a"), ("assistant", "b"), ("user", "c")].map(|(role, text)| Message::new(role, text));
        let row = Writer::new(&codec).unwrap().row(&Prompt::conversation(talk.to_vec()).unwrap(), "d").unwrap();
        assert_eq!(codec.tokenizer.decode(&row.ids[row.answer..]), "d\n");
    }

    #[test]
    fn long_prompts_lose_their_beginning_in_both_rows() {
        let codec = codec(Some(TURNS));
        let preferences = [
            preference("abcde", "a", "bcd"),
            preference("ab", "cc", "c"),
            preference("a", "bcdebcdebcde", "c"),
            preference("a", "b", "Ω"),
            preference("a", "b", "b"),
        ];
        let pairs = Pairs::new(&preferences, &codec, 10, |_| ()).unwrap();
        assert_eq!((pairs.pairs.len(), pairs.truncated, pairs.longest()), (2, 1, 10));
        let text = |row: &Row| codec.tokenizer.decode(&row.ids);
        assert_eq!([&pairs.pairs[0].chosen, &pairs.pairs[0].rejected].map(text), ["bcde\naa\n", "bcde\nabcd\n"]);
        let reasons = [Unusable::TooLong, Unusable::UnknownCharacter, Unusable::Equal];
        assert_eq!(reasons.map(|reason| pairs.left_out.count(reason)), [1; 3]);
        assert_eq!(pairs.answer_tokens(), 2 + 4 + 3 + 2);
    }

    #[test]
    fn prompts_are_held_out_with_all_their_pairs() {
        let codec = codec(None);
        let prompts = ["a", "b", "c", "d", "e", "ab", "bc", "cd", "de", "ea"];
        let all: Vec<_> =
            (0..30).map(|i| preference(prompts[i % 10], &"a".repeat(1 + i / 10), &"b".repeat(1 + i / 10))).collect();
        let pairs = Pairs::new(&all, &codec, 16, |_| ()).unwrap();
        let (train, held) = pairs.split(0.2, 7);
        assert_eq!((train.len(), held.len()), (24, 6));
        let prompt = |index: &u32| pairs.pairs[*index as usize].prompt;
        assert!(held.iter().all(|index| train.iter().all(|other| prompt(index) != prompt(other))));
        assert_eq!((pairs.split(0.0, 7).1.len(), pairs.split(1.0, 7).0.len(), pairs.split(0.01, 7).1.len()), (0, 3, 3));
        assert_ne!(pairs.split(0.2, 7), pairs.split(0.2, 8));

        let mut epochs = Epochs::new(train.clone(), 3);
        let mut first = epochs.take(0, 24);
        assert_ne!(first, epochs.take(24, 24), "a new order");
        assert_eq!(epochs.take(20, 8)[..4], first[20..], "the same again");
        first.sort_unstable();
        assert_eq!(first, train, "each once");
        assert!(Epochs::new(Vec::new(), 3).take(5, 2).is_empty());
    }
}
