//! Counts the mistakes in data by kind, each with the place of its first occurrence.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Kinds of mistakes in a prompt, an answer or a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// Not a JSON object.
    NotJson,
    /// Longer than the longest line accepted.
    TooLong,
    /// An object with none of the known sets of fields.
    UnknownForm,
    /// A field that is missing or has another type.
    WrongField,
    /// A field that changes what a message means, and that a text cannot express.
    Meaning,
    /// A role other than system, user, assistant.
    UnknownRole,
    /// A system message that is not the first.
    SystemNotFirst,
    /// A prompt without messages, or with a message without text.
    EmptyPrompt,
    /// A prompt that does not end with a user message.
    PromptEnd,
    /// A transcript that does not begin with Human or Assistant.
    NoTranscript,
    /// A transcript that does not end with an answer.
    NoAnswer,
    /// Two transcripts that differ before their last answer.
    NoCommonPrompt,
    /// An answer without text.
    EmptyAnswer,
    /// Chosen equal to rejected, or equal answers to choose from.
    EqualAnswers,
    /// Too few answers to compare, or more than can be shown.
    AnswerCount,
    /// A best answer that is not one of the answers, or a ranking that does not rank each of them.
    WrongVerdict,
    /// A score that is not a finite number.
    NotFinite,
    /// A score whose square, or a sum of such, would be more than an f32 can hold.
    Extreme,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson => "not a JSON object",
            Self::TooLong => "the line is too long",
            Self::UnknownForm => "none of the known sets of fields",
            Self::WrongField => "a field is missing or has another type",
            Self::Meaning => "a field changes what a message means, and a text cannot express that",
            Self::UnknownRole => "unknown role",
            Self::SystemNotFirst => "a system message is not the first",
            Self::EmptyPrompt => "empty prompt or message",
            Self::PromptEnd => "the prompt does not end with the user",
            Self::NoTranscript => "the transcript does not begin with Human or Assistant",
            Self::NoAnswer => "the transcript does not end with an answer",
            Self::NoCommonPrompt => "no common prompt: the transcripts differ before their last answers",
            Self::EmptyAnswer => "empty answer",
            Self::EqualAnswers => "equal answers (chosen equal to rejected)",
            Self::AnswerCount => "too few or too many answers",
            Self::WrongVerdict => "a verdict that does not fit the answers",
            Self::NotFinite => "the score is not a finite number",
            Self::Extreme => "the score is beyond 1e15",
        })
    }
}

/// Why data was refused: the kind of mistake, and the details of this case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub mistake: Mistake,
    /// This case, such as "'robot'; known are system, user, assistant". May be empty.
    pub detail: String,
}

impl Refusal {
    /// A refusal for `mistake`, with the details of this case.
    pub fn new(mistake: Mistake, detail: impl Into<String>) -> Self {
        Self { mistake, detail: detail.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.is_empty() {
            true => write!(f, "{}", self.mistake),
            false => write!(f, "{}: {}", self.mistake, self.detail),
        }
    }
}

/// How often something occurred, and its first occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How often.
    pub count: u64,
    /// Line of a file or id of a rating of the first occurrence.
    pub first: u64,
    /// Details of the first occurrence.
    pub detail: String,
}

/// Counts by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<R> {
    counts: BTreeMap<R, Count>,
}

impl<R> Default for Tally<R> {
    fn default() -> Self {
        Self { counts: BTreeMap::new() }
    }
}

impl<R: Ord + Copy + fmt::Display> Tally<R> {
    /// Counts an occurrence at line or id `at`.
    pub fn add(&mut self, reason: R, at: u64, detail: impl Into<String>) {
        let first = || Count { count: 0, first: at, detail: detail.into() };
        self.counts.entry(reason).or_insert_with(first).count += 1;
    }

    /// The counts, ordered by reason.
    pub fn iter(&self) -> impl Iterator<Item = (R, &Count)> {
        self.counts.iter().map(|(reason, count)| (*reason, count))
    }

    /// How often a reason occurred.
    pub fn count(&self, reason: R) -> u64 {
        self.counts.get(&reason).map_or(0, |count| count.count)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The total over all reasons.
    pub fn total(&self) -> u64 {
        self.counts.values().map(|count| count.count).sum()
    }

    /// One line of text per reason; `unit` names what `first` counts, such as "line".
    pub fn lines(&self, unit: &str) -> Vec<String> {
        let line = |(reason, count): (R, &Count)| {
            let detail = if count.detail.is_empty() { String::new() } else { format!(": {}", count.detail) };
            format!("{:>7}  {reason}; first: {unit} {}{detail}", count.count, count.first)
        };
        self.iter().map(line).collect()
    }
}

/// A list of `{reason, count, first, detail}`.
impl<R: Ord + Copy + fmt::Display> Serialize for Tally<R> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            reason: String,
            #[serde(flatten)]
            count: &'a Count,
        }
        serializer.collect_seq(self.iter().map(|(reason, count)| Row { reason: reason.to_string(), count }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Mistake, Tally};

    #[test]
    fn the_first_case_is_kept() {
        let mut tally = Tally::default();
        tally.add(Mistake::UnknownRole, 3, "'robot'");
        tally.add(Mistake::NotJson, 4, "");
        tally.add(Mistake::UnknownRole, 9, "'bot'");
        assert_eq!((tally.count(Mistake::UnknownRole), tally.total()), (2, 3));
        assert_eq!(tally.lines("line")[1], "      2  unknown role; first: line 3: 'robot'");
        assert_eq!(serde_json::to_value(&tally).unwrap()[0]["reason"], "not a JSON object");
    }
}
