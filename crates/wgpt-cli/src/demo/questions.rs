//! Everyday questions made from templates: what users say, good and poor answers, and which answers are acceptable.
//!
//! Every topic has many wordings. Every [`HELD_OUT`]th of them is never taught, so that questions in these wordings show
//! what a model understands beyond the ones that it knows word by word.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use serde::Deserialize;

use wgpt::{Error, Result, random};

/// The files with the topics: English, then Chinese.
const FILES: [(&str, &str); 2] =
    [("en.json", include_str!("../../questions/en.json")), ("zh.json", include_str!("../../questions/zh.json"))];

/// One in this many wordings of a topic is held out.
const HELD_OUT: usize = 6;

/// The share of questions in small letters, and of those without a mark at the end.
const CARELESS: f64 = 0.25;

/// How many times the same words in a row make an answer unacceptable.
const REPEATED: usize = 3;

/// Values by the name of their slot.
type Slots = BTreeMap<String, String>;

/// A language's topics.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Unfriendly and evasive answers, which fit no question.
    poor: Vec<String>,
    /// Numbers in words, from 0.
    numbers: Vec<String>,
    topics: Vec<Entry>,
}

/// What is said about a topic. `{name}` in a template is a slot.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    topic: String,
    /// What users say.
    ask: Vec<String>,
    /// Good answers, any of which will do.
    answer: Vec<String>,
    /// Values that belong together.
    #[serde(default)]
    facts: Vec<Slots>,
    /// Values in any combination.
    #[serde(default)]
    slots: BTreeMap<String, Vec<String>>,
    /// In place of `facts`: those that are computed.
    make: Option<Make>,
    /// The words to spell.
    #[serde(default)]
    words: Vec<String>,
    /// An acceptable answer has one of these phrases, and none of `bad`.
    good: Vec<String>,
    #[serde(default)]
    bad: Vec<String>,
}

/// How facts are computed.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Make {
    Sum,
    Difference,
    Product,
    Double,
    Half,
    /// A word and its letters with hyphens between them.
    Letters,
}

/// A fact as questions and as answers put it: numbers in words are answered in digits.
#[derive(Clone, Default)]
struct Fact {
    asked: Slots,
    answered: Slots,
}

/// A topic with its facts, at least one of them (which may be empty).
struct Topic {
    entry: Entry,
    facts: Vec<Fact>,
    /// Which language it is in.
    language: usize,
}

/// What a user says, and how it may be answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub prompt: String,
    /// A good answer.
    pub answer: String,
    language: usize,
    topic: usize,
    good: Vec<String>,
    bad: Vec<String>,
}

/// The shares of kinds of poor answers; the rest say the same words over and over.
#[derive(Clone, Copy)]
pub(super) struct Poor {
    /// Unfriendly and evasive ones.
    pub unfriendly: f64,
    /// Good answers to other questions.
    pub other: f64,
}

/// Whether a question's wording is taught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wording {
    Taught,
    HeldOut,
}

/// All questions: number i of a stream depends only on the seed and i.
pub(super) struct Questions {
    topics: Vec<Topic>,
    /// For each topic, the sum of the weights up to it: how often it is asked.
    weights: Vec<f64>,
    poor: Vec<Vec<String>>,
    seed: u64,
}

impl Questions {
    /// The questions of the first `languages` about `topics`, or about all if there is none. With a limit on `facts` there are
    /// at most so many in a topic, and nothing is computed or spelled, which takes larger models.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is not as described.
    pub fn new(languages: usize, chosen: &[String], facts: Option<usize>, seed: u64) -> Result<Self> {
        let (mut topics, mut poor): (Vec<Topic>, _) = (Vec::new(), Vec::new());
        for (language, (name, text)) in FILES.iter().take(languages).enumerate() {
            let file: File =
                serde_json::from_str(text).map_err(|error| Error::data(Path::new(name), error.to_string()))?;
            for entry in file.topics {
                if !chosen.is_empty() && !chosen.contains(&entry.topic) {
                    continue;
                }
                let found = entry.facts(&file.numbers, facts)?;
                let alike = |topic: &&Topic| topic.language == language && topic.entry.topic == entry.topic;
                let many = facts.is_some_and(|most| topics.iter().filter(alike).count() >= most);
                if !found.is_empty() && !many {
                    topics.push(Topic { entry, facts: found, language });
                }
            }
            poor.push(file.poor);
        }
        let mut sum = 0.0;
        let weights = topics.iter().map(|Topic { entry, facts, .. }| {
            sum += (facts.len().max(entry.ask.len()) as f64).sqrt();
            sum
        });
        let weights = weights.collect();
        Ok(Self { topics, weights, poor, seed })
    }

    /// A question, with one of its good answers.
    pub fn question(&self, wording: Wording, stream: u64, number: u64) -> Question {
        let draw = |what: u64| random::uniform(self.seed, stream, number << 8 | what);
        let pick = |what, count: usize| (draw(what) * count as f64) as usize;
        let total = self.weights.last().copied().unwrap_or_default();
        let begin = pick(0, self.topics.len());
        let drawn = draw(1) * total;
        let mut index = self.weights.partition_point(|sum| *sum <= drawn);
        if wording == Wording::HeldOut {
            // Small topics have no wording to spare.
            let spare = |index: &usize| self.topics[*index].entry.ask.len() >= HELD_OUT;
            let others = || (0..self.topics.len()).map(|step| (begin + step) % self.topics.len());
            index = if spare(&index) { index } else { others().find(spare).unwrap_or(index) };
        }
        let Topic { entry, facts, language } = &self.topics[index];
        let held_out = |place: &usize| (place % HELD_OUT == HELD_OUT - 1) == (wording == Wording::HeldOut);
        let places: Vec<_> = (0..entry.ask.len()).filter(held_out).collect();
        let ask = &entry.ask[places[pick(2, places.len())]];
        let Fact { mut asked, mut answered } = facts[pick(3, facts.len())].clone();
        for (what, (name, values)) in (16..).zip(&entry.slots) {
            let value = &values[pick(what, values.len())];
            asked.insert(name.clone(), value.clone());
            answered.insert(name.clone(), value.clone());
        }
        let all = |templates: &[String]| templates.iter().map(|template| filled(template, &answered)).collect();
        let prompt = capital(filled(ask, &asked), ask);
        // People are often in a hurry.
        let prompt = if draw(5) < CARELESS {
            prompt.trim_end_matches(['.', '?', '!', '。', '？', '！']).into()
        } else {
            prompt
        };
        let prompt = if draw(6) < CARELESS { prompt.to_lowercase() } else { prompt };
        Question {
            prompt,
            answer: capital(filled(&entry.answer[pick(4, entry.answer.len())], &answered), ""),
            language: *language,
            topic: index,
            good: all(&entry.good),
            bad: all(&entry.bad),
        }
    }

    /// A poor answer to a question: an unfriendly one, one to another question, or the same words over and over.
    pub fn poor(&self, question: &Question, kinds: Poor, stream: u64, number: u64) -> String {
        let draw = |what: u64| random::uniform(self.seed, stream, number << 8 | 128 | what);
        let manners = &self.poor[question.language];
        let unfriendly = || manners[(draw(1) * manners.len() as f64) as usize].clone();
        match draw(0) {
            kind if kind < kinds.unfriendly => unfriendly(),
            kind if kind < kinds.unfriendly + kinds.other => {
                let others = (0..64).map(|step| self.question(Wording::Taught, stream ^ 1, number << 6 | step));
                let mut others = others.filter(|other| other.language == question.language);
                let other = others.find(|other| !self.accepts(question, &other.answer));
                other.map_or_else(unfriendly, |other| other.answer)
            }
            _ => {
                let answer = &question.answer;
                let words = 1 + (draw(1) * 3.0) as usize;
                let starts = units(answer).into_iter().map(|(end, _)| end);
                let some = &answer[..starts.take(words).last().unwrap_or(answer.len())];
                let between = if some.is_ascii() { " " } else { "" };
                vec![some; 4 + (draw(2) * 4.0) as usize].join(between)
            }
        }
    }

    /// Whether an answer does what the question asks for.
    pub fn accepts(&self, question: &Question, answer: &str) -> bool {
        let answer = answer.to_lowercase();
        let found = |phrase: &String| has(&answer, &phrase.to_lowercase());
        question.good.iter().any(found)
            && !question.bad.iter().any(found)
            && !self.poor[question.language].iter().any(found)
            && !repeats(&answer)
    }
}

impl Entry {
    /// Its facts, at most `most`; none if they are computed and there is a limit.
    fn facts(&self, numbers: &[String], most: Option<usize>) -> Result<Vec<Fact>> {
        let same = |slots: &Slots| Fact { asked: slots.clone(), answered: slots.clone() };
        let Some(make) = self.make else {
            let facts = self.facts.iter().take(most.unwrap_or(usize::MAX)).map(same).collect::<Vec<_>>();
            return Ok(if facts.is_empty() { vec![Fact::default()] } else { facts });
        };
        if most.is_some() {
            return Ok(Vec::new());
        }
        let pairs = |a: i32, b: i32| (0..=a).flat_map(move |a| (0..=b).map(move |b| (a, b)));
        let found: Vec<(i32, i32, i32)> = match make {
            Make::Sum => pairs(20, 20).map(|(a, b)| (a, b, a + b)).collect(),
            Make::Difference => pairs(20, 20).filter(|(a, b)| a >= b).map(|(a, b)| (a, b, a - b)).collect(),
            Make::Product => pairs(10, 10).map(|(a, b)| (a, b, a * b)).collect(),
            Make::Double => (1..=20).map(|a| (a, a, 2 * a)).collect(),
            Make::Half => (1..=20).map(|a| (2 * a, a, a)).collect(),
            Make::Letters => {
                let letters = |word: &String| word.chars().map(String::from).collect::<Vec<_>>().join("-");
                let row = |word| Slots::from([("word".into(), String::clone(word)), ("letters".into(), letters(word))]);
                return Ok(self.words.iter().map(|word| same(&row(word))).collect());
            }
        };
        let digits = |number: &i32| number.to_string();
        let words = |number: &i32| numbers.get(*number as usize).cloned().unwrap_or_else(|| number.to_string());
        let row = |(a, b, result): &(i32, i32, i32), said: &dyn Fn(&i32) -> String| {
            Slots::from([("a".into(), said(a)), ("b".into(), said(b)), ("result".into(), digits(result))])
        };
        let both = |fact| {
            let answered = row(fact, &digits);
            // Digits are the usual way.
            let asked = [answered.clone(), answered.clone(), row(fact, &words)];
            asked.map(|asked| Fact { asked, answered: answered.clone() })
        };
        Ok(found.iter().flat_map(both).collect())
    }
}

/// A template with its slots filled. A slot without a value stays as it is, which the tests do not let happen.
fn filled(template: &str, slots: &Slots) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        text += before;
        match slots.get(name) {
            Some(value) => text += value,
            None => text += &format!("{{{name}}}"),
        }
        rest = after;
    }
    text + rest
}

/// The text with a capital letter, if its template begins with a slot: a value in the middle of a sentence has none.
fn capital(text: String, template: &str) -> String {
    if !template.is_empty() && !template.starts_with('{') || template.starts_with("{a}") {
        return text;
    }
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The words of a text, and each character of a script without spaces, with the index of the byte after it.
fn units(text: &str) -> Vec<(usize, &str)> {
    let mut found: Vec<(usize, &str)> = Vec::new();
    let mut begun = None;
    for (index, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        let word = letter.is_alphanumeric() && letter < '\u{2e80}';
        match begun {
            None if word => begun = Some(index),
            Some(start) if !word => {
                found.push((index, &text[start..index]));
                begun = None;
            }
            _ => (),
        }
        if !word && letter.is_alphanumeric() {
            let end = index + letter.len_utf8();
            found.push((end, &text[index..end]));
        }
    }
    found
}

/// Whether a text has a phrase, not as a part of a longer word. Both are in lower case.
fn has(text: &str, phrase: &str) -> bool {
    let word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() && letter < '\u{2e80}');
    let joined = |left: Option<char>, right: Option<char>| word(left) && word(right);
    text.match_indices(phrase).any(|(start, found)| {
        let end = start + found.len();
        !joined(text[..start].chars().next_back(), found.chars().next())
            && !joined(found.chars().next_back(), text[end..].chars().next())
    })
}

/// Whether a text says the same [`REPEATED`] times in a row; a single word or character once more than that, as a dog
/// does.
fn repeats(text: &str) -> bool {
    let units = units(text);
    let units: Vec<&str> = units.iter().map(|(_, unit)| *unit).collect();
    (1..=8).any(|length: usize| {
        let times = REPEATED + usize::from(length == 1);
        let mut windows = units.windows(length * times);
        windows.any(|window| window.chunks(length).all(|chunk| chunk == &window[..length]))
    })
}

/// `count` different questions in a wording, none of them among `known`, which become known. There may be fewer.
pub(super) fn different(
    questions: &Questions,
    wording: Wording,
    stream: u64,
    count: usize,
    known: &mut HashSet<String>,
    fits: impl Fn(&Question) -> bool,
) -> Vec<Question> {
    let drawn = (0..16 * count as u64).map(|number| questions.question(wording, stream, number));
    let mut new = |question: &Question| fits(question) && known.insert(question.prompt.to_lowercase());
    let mut found = Vec::with_capacity(count);
    for question in drawn {
        if found.len() == count {
            break;
        }
        if new(&question) {
            found.push(question);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_good_answer_is_acceptable_and_no_poor_one_is() {
        let questions = Questions::new(2, &[], None, 7).unwrap();
        for number in 0..20_000 {
            for wording in [Wording::Taught, Wording::HeldOut] {
                let question = questions.question(wording, 0, number);
                let (prompt, answer) = (&question.prompt, &question.answer);
                assert!(!format!("{prompt}{answer}").contains(['{', '}']), "a slot without a value: {prompt} {answer}");
                assert!(questions.accepts(&question, answer), "{prompt} {answer}");
                let poor = questions.poor(&question, Poor { unfriendly: 0.3, other: 0.5 }, 1, number);
                assert!(!questions.accepts(&question, &poor), "{prompt} {poor}");
            }
        }
    }

    #[test]
    fn held_out_wordings_are_never_taught() {
        let questions = Questions::new(2, &[], None, 7).unwrap();
        let taught: HashSet<_> =
            (0..50_000).map(|n| questions.question(Wording::Taught, 0, n).prompt.to_lowercase()).collect();
        let held_out: Vec<_> =
            (0..2_000).map(|n| questions.question(Wording::HeldOut, 1, n).prompt.to_lowercase()).collect();
        let spoilt: HashSet<_> = held_out.iter().filter(|prompt| taught.contains(*prompt)).collect();
        assert!(spoilt.is_empty(), "{spoilt:?}");
        let mut known = taught.clone();
        let some = different(&questions, Wording::HeldOut, 1, 100, &mut known, |_| true);
        assert_eq!((some.len(), known.len()), (100, taught.len() + 100));
    }

    #[test]
    fn phrases_are_found_as_words() {
        assert!(has("it is 4.", "4") && !has("it is 14", "4") && !has("other", "the"));
        assert!(has("法国的首都是巴黎。", "巴黎") && has("c-a-t", "c-a-t"));
        assert!(repeats("the the the the") && !repeats("moo moo moo") && repeats("go away go away go away"));
        assert!(repeats("你好吗你好吗你好吗") && !repeats("汪汪汪"));
        assert_eq!(units("Go on, 你好").len(), 4);
    }
}
