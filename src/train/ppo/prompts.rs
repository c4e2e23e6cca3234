//! The prompts of a policy: conversations and texts from a file, or windows of a book.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::{
    Error, Result,
    error::counted,
    feedback,
    interchange::TextCodec,
    random,
    text::{
        ChatTemplate, DataFile, Layout, Message,
        data_file::Unreadable,
        messages::{self, Unclear},
        tokenizer::Hasher,
    },
    train::judge::{self, Judge},
};

/// Random streams: the order of listed prompts, and the starts of windows.
const ORDER: u64 = u64::from_le_bytes(*b"prompts ");
const WINDOW: u64 = u64::from_le_bytes(*b"windows ");

/// A prompt.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Prompt {
    /// Its tokens, at least one.
    pub ids: Vec<u32>,
    /// Its text, for judges: the last user message.
    pub text: String,
    /// All of its messages; a plain text counts as a user message.
    pub messages: Vec<Message>,
    /// The right answer, if the file has one.
    pub expected: Option<String>,
}

/// Where prompts come from.
#[derive(Clone, Debug)]
enum Source {
    List(Vec<Prompt>),
    /// Windows of this many tokens of a text.
    Windows(Vec<u32>, usize),
}

/// The prompts of a run: number i depends only on the seed and i.
#[derive(Clone, Debug)]
pub struct Prompts {
    source: Source,
    seed: u64,
    hash: u64,
    /// What was left out: for each reason, how often and the first record.
    pub left_out: BTreeMap<String, (usize, u64)>,
    /// What the numbers of records count, such as "line".
    unit: &'static str,
}

impl Prompts {
    /// Reads `path`: a data file with a prompt per record (see [`Prompts::listed`]), or a text, of which every window
    /// of `width` tokens is a prompt (as in lm-human-preferences). Listed prompts longer than `width` tokens are left
    /// out.
    ///
    /// # Errors
    /// [`Error::Data`] if nothing is left, [`Error::Io`], [`Error::Template`], and the errors of [`DataFile::open`].
    pub fn open(path: &Path, codec: &TextCodec, width: usize, seed: u64) -> Result<Self> {
        if !path.exists() && path != Path::new("-") {
            return Err(Error::data(path, "no such file; give JSON records with a prompt each, or a text"));
        }
        let file = DataFile::open(path)?;
        let found = match file.layout() {
            Layout::Text => Self::windows(codec.tokenizer.encode(&file.text()?)?, width, seed),
            _ => Self::listed(file, codec, width, seed)?,
        };
        match &found.source {
            Source::List(prompts) if prompts.is_empty() => {
                let reasons: Vec<_> = found.remarks();
                let reasons =
                    if reasons.is_empty() { "there is none in the file".to_string() } else { reasons.join("; ") };
                Err(Error::data(path, format!("no prompt to answer: {reasons}")))
            }
            Source::Windows(ids, width) if ids.len() <= *width => {
                Err(Error::data(path, format!("the text has {}; a prompt takes {width}", counted(ids.len(), "token"))))
            }
            _ => Ok(found),
        }
    }

    /// Reads a prompt per record: `"messages"` (an answer at the end is cut off), or `"prompt"` or `"question"`,
    /// each a text or messages; `"answer"` is the right answer. A text is a user message for a model with a chat
    /// template; any other model continues it.
    ///
    /// # Errors
    /// [`Error::Template`] for a template that cannot be read, and the errors of [`DataFile::records`].
    pub fn listed(records: DataFile, codec: &TextCodec, width: usize, seed: u64) -> Result<Self> {
        let conventions = &codec.conventions;
        let template = match conventions.template.is_some() {
            true => Some(conventions.chat(&codec.tokenizer)?),
            false => None,
        };
        let (mut prompts, mut left_out) = (Vec::new(), BTreeMap::new());
        let unit = records.layout().unit();
        let unreadable = |unreadable| match unreadable {
            Unreadable::TooLong => "the line is too long".to_string(),
            Unreadable::NotJson(_) => "the line is not JSON".to_string(),
        };
        records.records(
            |_| (),
            |number, record| {
                let asked = record.map_err(unreadable).and_then(|record| parse(&record));
                match asked.and_then(|asked| asked.encode(codec, template.as_ref(), width)) {
                    Ok(prompt) => prompts.push(prompt),
                    Err(reason) => left_out.entry(reason).or_insert((0, number)).0 += 1,
                }
                Ok(())
            },
        )?;
        Ok(Self { hash: hash_of(&prompts), source: Source::List(prompts), seed, left_out, unit })
    }

    /// Every window of `width` tokens of a text.
    pub fn windows(ids: Vec<u32>, width: usize, seed: u64) -> Self {
        let mut hasher = Hasher::default();
        hasher.add(bytemuck::cast_slice(&ids));
        let hash = hasher.finish();
        Self { source: Source::Windows(ids, width.max(1)), seed, hash, left_out: BTreeMap::new(), unit: "line" }
    }

    /// Refuses the judge called `name` if it cannot score answers to these prompts.
    ///
    /// # Errors
    /// [`Error::Judge`] naming the first prompt without a right answer.
    pub fn suit(&self, judge: &dyn Judge, name: &str) -> Result<()> {
        if !judge.needs_expected() {
            return Ok(());
        }
        match &self.source {
            Source::List(prompts) => match prompts.iter().find(|prompt| prompt.expected.is_none()) {
                Some(prompt) => Err(judge::unanswered(name, &prompt.text)),
                None => Ok(()),
            },
            Source::Windows(..) => Err(judge::unanswered(name, "windows of a text")),
        }
    }

    /// Tokens of the longest prompt.
    pub fn longest(&self) -> usize {
        match &self.source {
            Source::List(prompts) => prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0),
            Source::Windows(_, width) => *width,
        }
    }

    /// Number of prompts.
    pub fn count(&self) -> usize {
        match &self.source {
            Source::List(prompts) => prompts.len(),
            Source::Windows(ids, width) => ids.len().saturating_sub(*width),
        }
    }

    /// The listed prompts in the order of their file; none if they are windows of a text.
    pub fn list(&self) -> &[Prompt] {
        match &self.source {
            Source::List(prompts) => prompts,
            Source::Windows(..) => &[],
        }
    }

    /// The same prompts in the order of another seed.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The listed prompts for which `keep` returns true.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Prompt) -> bool) -> Self {
        let kept: Vec<_> = self.list().iter().filter(|prompt| keep(prompt)).cloned().collect();
        Self { hash: hash_of(&kept), source: Source::List(kept), left_out: BTreeMap::new(), ..*self }
    }

    /// A hash of all prompts.
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// Prompt number `index` of a run. Listed prompts come in epochs, each in an order of its own; windows are drawn
    /// uniformly.
    pub fn get(&self, index: u64, codec: &TextCodec) -> Prompt {
        match &self.source {
            Source::List(prompts) => {
                let (epoch, place) = (index / prompts.len() as u64, index % prompts.len() as u64);
                prompts[order(self.seed, epoch, prompts.len())[place as usize] as usize].clone()
            }
            Source::Windows(ids, width) => {
                let start = random::below(self.seed, WINDOW, index, (ids.len() - width) as u64) as usize;
                let ids = ids[start..start + width].to_vec();
                let text = codec.tokenizer.decode(&ids);
                Prompt { messages: vec![Message::new("user", &text)], text, ids, expected: None }
            }
        }
    }

    /// What was left out, one line per reason.
    pub fn remarks(&self) -> Vec<String> {
        let words = |(reason, (count, number)): (&String, &(usize, u64))| {
            format!("{count} left out because {reason} (first in {} {number})", self.unit)
        };
        self.left_out.iter().map(words).collect()
    }
}

fn hash_of(prompts: &[Prompt]) -> u64 {
    let mut hasher = Hasher::default();
    for prompt in prompts {
        hasher.add(bytemuck::cast_slice(&prompt.ids));
        hasher.add(prompt.expected.as_deref().unwrap_or("\0").as_bytes());
    }
    hasher.finish()
}

/// `0..count` in a random order for this epoch (Fisher-Yates shuffle).
pub(super) fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    for place in (1..count).rev() {
        let other = random::below(seed, ORDER.wrapping_add(epoch), place as u64, place as u64 + 1) as usize;
        order.swap(place, other);
    }
    order
}

/// A record of the file.
struct PromptRecord {
    messages: Vec<Message>,
    /// A plain text without a system message, which a model without a chat template continues.
    text: Option<String>,
    expected: Option<String>,
}

fn parse(value: &Value) -> Result<PromptRecord, String> {
    let given = ["messages", "prompt", "question"].iter().map(|name| &value[*name]).find(|given| !given.is_null());
    let given = given.ok_or("it has no \"messages\", \"prompt\" or \"question\"")?;
    let expected = match &value["answer"] {
        Value::String(answer) => Some(answer.clone()),
        Value::Number(answer) => Some(answer.to_string()),
        Value::Null => None,
        _ => return Err("its answer is neither a text nor a number".to_string()),
    };
    let unclear = |unclear| match unclear {
        Unclear::NoList => "its prompt is neither a text nor a list of messages".to_string(),
        Unclear::Role(_) => "a role is not system, user or assistant".to_string(),
        Unclear::Content(_) => "a content is not a text".to_string(),
        Unclear::Field(name) => format!("{name:?} changes what it means, and a text cannot express that"),
        Unclear::Weight(_) => "a weight is neither 0 nor 1".to_string(),
    };
    let system = messages::system(value).map_err(unclear)?;
    if let Some(text) = given.as_str() {
        if text.trim().is_empty() {
            return Err("it is empty".to_string());
        }
        let alone = system.is_none().then(|| text.to_string());
        let messages = system.into_iter().chain([Message::new("user", text)]).collect();
        return Ok(PromptRecord { messages, text: alone, expected });
    }
    let turns = messages::turns(given).map_err(unclear)?;
    let mut messages: Vec<_> = system.into_iter().chain(turns.into_iter().map(|turn| turn.message)).collect();
    let last = messages.iter().rposition(|message| message.role == "user").ok_or("the user says nothing")?;
    messages.truncate(last + 1);
    let checked = feedback::Prompt::conversation(messages).map_err(|refusal| refusal.to_string())?;
    Ok(PromptRecord { messages: checked.messages().to_vec(), text: None, expected })
}

impl PromptRecord {
    fn encode(self, codec: &TextCodec, template: Option<&ChatTemplate>, width: usize) -> Result<Prompt, String> {
        let Self { messages, text, expected } = self;
        let last = messages.last().map(|message| message.content.clone()).unwrap_or_default();
        let ids = match (template, &text) {
            (Some(template), _) => {
                let rendered = template.render(&messages, true).map_err(|_| "the chat template refuses it")?;
                codec.tokenizer.encode_special(&rendered)
            }
            (None, Some(text)) => codec.read(text),
            (None, None) => return Err("it is a conversation and the model has no chat template".to_string()),
        };
        let ids = ids.map_err(|_| "the tokenizer does not know a character of it")?;
        if ids.is_empty() {
            return Err("it is empty".to_string());
        }
        if ids.len() > width {
            return Err(format!("it has more than {width} tokens (prompt_tokens)"));
        }
        Ok(Prompt { ids, text: last, messages, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    fn codec() -> TextCodec {
        TextCodec::plain(Tokenizer::chars_of(["abc 012?"]).unwrap())
    }

    #[test]
    fn lines_are_prompts_or_left_out() {
        let lines = [
            r#"{"prompt":"ab?","answer":12}"#,
            r#"{"question":"c","answer":"1"}"#,
            r#"{"prompt":"abcabcabc"}"#,
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"prompt":"xyz"}"#,
            "oops",
            "",
            r#"{"text":"a"}"#,
            r#"{"prompt":""}"#,
        ];
        let prompts = Prompts::listed(DataFile::of_lines(&lines.join("\n")), &codec(), 8, 1).unwrap();
        assert_eq!((prompts.count(), prompts.longest(), prompts.left_out.len()), (2, 3, 6));
        assert!(prompts.remarks().iter().any(|remark| remark.contains("not JSON (first in line 6)")));
        let first: Vec<_> = (0..2).map(|i| prompts.get(i, &codec()).text).collect();
        assert!(first.contains(&"ab?".to_string()) && first.contains(&"c".to_string()), "an epoch has each once");
        let expected = (0..2).find_map(|i| Some(prompts.get(i, &codec())).filter(|p| p.text == "ab?")).unwrap();
        assert_eq!(expected.expected.as_deref(), Some("12"));
        let some = prompts.only(|prompt| prompt.text == "c");
        assert_eq!((some.count(), some.get(5, &codec()).text.as_str()), (1, "c"));
        assert_ne!(some.fingerprint(), prompts.fingerprint());
        let epochs: Vec<_> = (0..40).step_by(2).map(|i| prompts.get(i, &codec()).text).collect();
        assert!(epochs.iter().any(|text| text == "c") && epochs.iter().any(|text| text == "ab?"), "orders differ");
    }

    #[test]
    fn windows_are_pieces_of_the_text() {
        let codec = codec();
        let text = "abc 012?".repeat(9);
        let prompts = Prompts::windows(codec.tokenizer.encode(&text).unwrap(), 5, 3);
        for index in 0..20 {
            let prompt = prompts.get(index, &codec);
            assert!(prompt.ids.len() == 5 && text.contains(&prompt.text));
        }
        assert_ne!(prompts.get(0, &codec), prompts.get(1, &codec));
        assert_eq!((prompts.longest(), prompts.count()), (5, 67));
    }
}
