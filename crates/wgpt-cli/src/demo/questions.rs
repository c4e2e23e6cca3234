//! Everyday questions made from templates: what users say, good and poor answers, and which answers are acceptable.
//!
//! Every topic has many wordings. Every [`HELD_OUT`]th of them is never taught, so that questions in these wordings show
//! what a model understands beyond the ones that it knows word by word.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use wgpt::{
    Error, Result, hash, random,
    text::phrases::{has, repeats, units, words},
};

/// The files with the topics: English, then Chinese.
const FILES: [(&str, &str); 2] =
    [("en.json", include_str!("../../questions/en.json")), ("zh.json", include_str!("../../questions/zh.json"))];

/// One in this many wordings of a topic is held out.
const HELD_OUT: usize = 6;

/// The share of questions in small letters, and of those without a mark at the end.
const CARELESS: f64 = 0.25;

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
    /// The wordings by [`Wording`]; there may be none that is held out.
    asks: [Vec<String>; 2],
    facts: Vec<Fact>,
    /// The sums of the weights of the facts up to each: how often it is asked about.
    weights: Vec<f64>,
    /// Which language it is in.
    language: usize,
}

/// What a user says, and how it may be answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub prompt: String,
    /// A good answer, one of all that are taught.
    pub answer: String,
    pub answers: Vec<String>,
    language: usize,
    topic: usize,
    good: Vec<String>,
    bad: Vec<String>,
}

impl Question {
    /// The phrases of which an acceptable answer has one, as the judge `contains` reads them.
    pub fn expected(&self) -> String {
        self.good.join(" | ")
    }
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
    Taught = 0,
    HeldOut = 1,
}

/// How often each topic, and each fact, is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Balance {
    /// Entries by the square root of their wordings or facts, whichever are more; all facts of an entry alike.
    Entries,
    /// Topics by the square root of all that is to be learned about each, wordings and facts; in a topic, entries as
    /// above. Of an entry's facts, those that come first in the file, which are the best known, are asked about most.
    Topics,
}

/// How much rarer later facts are under [`Balance::Topics`]: fact i is asked about in proportion to 1 / (`KNOWN` + i).
const KNOWN: f64 = 10.0;

/// How often a question is drawn again that is held out.
const ATTEMPTS: u64 = 16;

/// All questions: number i of a stream depends only on the seed and i.
pub(super) struct Questions {
    topics: Vec<Topic>,
    /// For each [`Wording`] and topic, the sum of the weights up to it: how often it is asked.
    weights: [Vec<f64>; 2],
    poor: Vec<Vec<String>>,
    /// The words of the questions that must not be taught.
    reserved: HashSet<String>,
    seed: u64,
}

/// A hash of all questions, by which a later program knows whether they are still the same.
pub(super) fn fingerprint() -> String {
    format!("{:016x}", FILES.iter().fold(0, |state, (_, text)| hash::add(state, text.as_bytes())))
}

impl Questions {
    /// The questions of the first `languages` about the topics in `chosen`, or about all topics if `chosen` is empty. `facts`
    /// limits both the entries of a topic and the rows of an entry. With such a limit nothing is computed or spelled, because
    /// that takes larger models.
    ///
    /// # Errors
    /// [`Error::Data`] for a file that is not as described, or that has nothing to hold out or no such topic.
    pub fn new(languages: usize, chosen: &[String], facts: Option<usize>, balance: Balance, seed: u64) -> Result<Self> {
        let (mut topics, mut poor): (Vec<Topic>, _) = (Vec::new(), Vec::new());
        for (language, (name, text)) in FILES.iter().take(languages).enumerate() {
            let wrong = |reason: String| Error::data(Path::new(name), reason);
            let file: File = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
            if let Some(missing) = chosen.iter().find(|name| file.topics.iter().all(|entry| entry.topic != **name)) {
                return Err(wrong(format!("has no topic {missing:?}")));
            }
            let (mut entries, mut known) = (HashMap::<String, usize>::new(), HashSet::new());
            for entry in file.topics {
                let count = entries.entry(entry.topic.clone()).or_default();
                let many = facts.is_some_and(|most| *count >= most);
                if many || !chosen.is_empty() && !chosen.contains(&entry.topic) {
                    continue;
                }
                entry.check().map_err(|reason| wrong(format!("topic {:?}: {reason}", entry.topic)))?;
                let found = entry.facts(&file.numbers, facts)?;
                if found.is_empty() {
                    continue;
                }
                *count += 1;
                // Wordings that differ only in capitals and marks are the same.
                let asks: Vec<_> = entry.ask.iter().filter(|ask| known.insert(words(ask))).cloned().collect();
                let (mut taught, mut held_out) = (Vec::new(), Vec::new());
                for (place, ask) in (1..).zip(asks) {
                    if place % HELD_OUT == 0 { &mut held_out } else { &mut taught }.push(ask);
                }
                let ranked = balance == Balance::Topics && entry.make.is_none();
                let weight = |rank: usize| if ranked { 1.0 / (KNOWN + rank as f64) } else { 1.0 };
                let weights = sums((0..found.len()).map(weight));
                topics.push(Topic { entry, asks: [taught, held_out], facts: found, weights, language });
            }
            poor.push(file.poor);
        }
        let taught = |topic: &Topic| topic.asks[Wording::Taught as usize].len();
        let alone = |topic: &Topic| (topic.facts.len().max(taught(topic)) as f64).sqrt();
        // By topic: what there is to learn, and the weights of its entries.
        let mut whole = HashMap::<(usize, &str), (usize, f64)>::new();
        for topic in &topics {
            let (things, weights) = whole.entry((topic.language, &topic.entry.topic)).or_default();
            *things += topic.facts.len() + taught(topic);
            *weights += alone(topic);
        }
        let weight = |topic: &Topic| match (balance, whole[&(topic.language, topic.entry.topic.as_str())]) {
            (Balance::Entries, _) => alone(topic),
            (Balance::Topics, (things, weights)) => alone(topic) / weights * (things as f64).sqrt(),
        };
        let weights = [0, 1].map(|wording| {
            sums(topics.iter().map(|topic| if topic.asks[wording].is_empty() { 0.0 } else { weight(topic) }))
        });
        if weights.iter().any(|sums| sums.last().is_none_or(|sum| *sum == 0.0)) {
            let reason = format!("no topic has {HELD_OUT} wordings, of which one can be held out");
            return Err(Error::data(Path::new(FILES[0].0), reason));
        }
        Ok(Self { topics, weights, poor, reserved: HashSet::new(), seed })
    }

    /// From now on, no question with the same words as one of these is taught.
    pub fn reserve(&mut self, held_out: &[Question]) {
        self.reserved.extend(held_out.iter().map(|question| words(&question.prompt)));
    }

    /// A question, with one of its good answers.
    pub fn question(&self, wording: Wording, stream: u64, number: u64) -> Question {
        let mut drawn = (0..ATTEMPTS).map(|attempt| self.draw(wording, stream, number * ATTEMPTS + attempt));
        // Different wordings may have the same words once their slots are filled.
        let free =
            |question: &Question| wording == Wording::HeldOut || !self.reserved.contains(&words(&question.prompt));
        drawn.find(free).unwrap_or_else(|| self.draw(wording, stream, number * ATTEMPTS))
    }

    fn draw(&self, wording: Wording, stream: u64, number: u64) -> Question {
        let draw = |what: u64| random::uniform(self.seed, stream, number << 8 | what);
        let pick = |what, count: usize| (draw(what) * count as f64) as usize;
        let weighted = |what, sums: &[f64]| {
            let drawn = draw(what) * sums.last().copied().unwrap_or_default();
            sums.partition_point(|sum| *sum <= drawn)
        };
        let index = weighted(0, &self.weights[wording as usize]);
        let Topic { entry, asks, facts, weights, language } = &self.topics[index];
        let asks = &asks[wording as usize];
        let ask = &asks[pick(1, asks.len())];
        let Fact { mut asked, mut answered } = facts[weighted(2, weights)].clone();
        for (what, (name, values)) in (16..).zip(&entry.slots) {
            let value = &values[pick(what, values.len())];
            asked.insert(name.clone(), value.clone());
            answered.insert(name.clone(), value.clone());
        }
        let all = |templates: &[String]| templates.iter().map(|template| filled(template, &answered)).collect();
        let mut prompt = filled(ask, &asked);
        // Numbers stay as they are said.
        if ask.starts_with('{') && entry.make.is_none() {
            prompt = capital(&prompt);
        }
        // People are often in a hurry.
        if draw(3) < CARELESS {
            prompt.truncate(prompt.trim_end_matches(['.', '?', '!', '。', '？', '！']).len());
        }
        if draw(4) < CARELESS {
            prompt = prompt.to_lowercase();
        }
        let answers: Vec<_> = entry.answer.iter().map(|template| capital(&filled(template, &answered))).collect();
        let answer = answers[pick(5, answers.len())].clone();
        let (good, bad) = (all(&entry.good), all(&entry.bad));
        Question { prompt, answer, answers, language: *language, topic: index, good, bad }
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
                let count = 1 + (draw(1) * 3.0) as usize;
                let ends = units(answer).into_iter().map(|(end, _)| end);
                let some = &answer[..ends.take(count).next_back().unwrap_or(answer.len())];
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

/// The sums of all weights up to each.
fn sums(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let add = |sum: &mut f64, weight| {
        *sum += weight;
        Some(*sum)
    };
    weights.scan(0.0, add).collect()
}

impl Entry {
    /// Whether it has all that a question needs; otherwise, what it lacks.
    fn check(&self) -> std::result::Result<(), String> {
        let empty = |what: &str| Err(format!("has no {what}"));
        match self {
            Self { ask, .. } if ask.is_empty() => empty("ask"),
            Self { answer, .. } if answer.is_empty() => empty("answer"),
            Self { good, .. } if good.is_empty() => empty("good"),
            Self { slots, .. } if slots.values().any(Vec::is_empty) => empty("value in one of its slots"),
            _ => Ok(()),
        }
    }

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
        let in_words = |number: &i32| numbers.get(*number as usize).cloned().unwrap_or_else(|| number.to_string());
        let row = |(a, b, result): &(i32, i32, i32), said: &dyn Fn(&i32) -> String| {
            Slots::from([("a".into(), said(a)), ("b".into(), said(b)), ("result".into(), digits(result))])
        };
        let both = |fact| {
            let answered = row(fact, &digits);
            // Digits are the usual way.
            let asked = [answered.clone(), answered.clone(), row(fact, &in_words)];
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

/// The text with a capital letter: values are written as in the middle of a sentence.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `count` different questions in a wording, or fewer if there are no more that fit.
pub(super) fn different(
    questions: &Questions,
    wording: Wording,
    stream: u64,
    count: usize,
    fits: impl Fn(&Question) -> bool,
) -> Vec<Question> {
    let mut known = HashSet::new();
    let drawn = (0..16 * count as u64).map(|number| questions.question(wording, stream, number));
    drawn.filter(|question| known.insert(words(&question.prompt)) && fits(question)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_good_answer_is_acceptable_and_no_poor_one_is() {
        let questions = Questions::new(2, &[], None, Balance::Topics, 7).unwrap();
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
        let mut questions = Questions::new(2, &[], None, Balance::Topics, 7).unwrap();
        for language in 0..2 {
            let of = |wording: usize| {
                let topics = questions.topics.iter().filter(move |topic| topic.language == language);
                topics.flat_map(move |topic| topic.asks[wording].iter().map(|ask| words(ask)))
            };
            let taught: HashSet<_> = of(0).collect();
            assert!(of(1).count() > 500 && of(1).all(|ask| !taught.contains(&ask)));
        }
        let held_out = different(&questions, Wording::HeldOut, 1, 2_000, |_| true);
        assert_eq!(held_out.len(), 2_000);
        questions.reserve(&held_out);
        let taught: HashSet<_> =
            (0..50_000).map(|n| words(&questions.question(Wording::Taught, 0, n).prompt)).collect();
        let spoilt: Vec<_> = held_out.iter().filter(|question| taught.contains(&words(&question.prompt))).collect();
        assert!(spoilt.is_empty(), "{spoilt:?}");
    }

    #[test]
    fn balanced_topics_are_asked_about_by_what_there_is_to_learn_and_known_facts_first() {
        let counts = |chosen: &[String], balance, of: fn(&Questions, &Question) -> String| {
            let questions = Questions::new(1, chosen, None, balance, 7).unwrap();
            let mut counts = HashMap::<String, f64>::new();
            for number in 0..20_000 {
                *counts.entry(of(&questions, &questions.question(Wording::Taught, 0, number))).or_default() += 1.0;
            }
            counts
        };
        let topics = |balance| counts(&[], balance, |all, question| all.topics[question.topic].entry.topic.clone());
        let capitals = |balance| counts(&["capital".into()], balance, |_, question| question.good[0].clone());
        // A hundred entries of science are no hundred topics.
        let (entries, balanced) = (topics(Balance::Entries), topics(Balance::Topics));
        assert!(entries["science"] > 8.0 * entries["capital"], "{entries:?}");
        assert!((1.5..2.5).contains(&(balanced["science"] / balanced["capital"])), "{balanced:?}");
        let (alike, ranked) = (capitals(Balance::Entries), capitals(Balance::Topics));
        assert!((0.5..2.0).contains(&(alike["Berlin"] / alike["Tallinn"])), "{alike:?}");
        assert!(ranked["Berlin"] > 3.0 * ranked["Tallinn"], "{ranked:?}");
    }

    #[test]
    fn what_the_files_lack_is_said() {
        let message =
            Questions::new(1, &["weather on Mars".into()], None, Balance::Entries, 7).err().unwrap().to_string();
        assert!(message.contains("en.json") && message.contains("weather on Mars"), "{message}");
        let message = Questions::new(0, &[], None, Balance::Entries, 7).err().unwrap().to_string();
        assert!(message.contains("can be held out"), "{message}");
    }
}
