//! Judges, which score what a policy writes.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    Error, Result,
    assets::SENTIMENT,
    error::counted,
    text::{
        Message,
        phrases::{has, repeats},
    },
};

/// An answer to score.
#[derive(Clone, Copy, Debug)]
pub struct ScoredAnswer<'a> {
    /// What was answered: the last user message, or the text that was continued.
    pub prompt: &'a str,
    /// The whole conversation up to the answer; a plain text counts as a user message.
    pub messages: &'a [Message],
    /// The answer, without the token that ended it.
    pub answer: &'a str,
    /// The right answer, if the prompt file has one.
    pub expected: Option<&'a str>,
}

/// Scores answers: higher is better. Equal answers must get equal scores, or a resumed run would differ from an
/// uninterrupted one.
pub trait Judge {
    /// Returns a score for each answer, in order.
    ///
    /// # Errors
    /// [`Error::Judge`] if the judge fails.
    fn score(&mut self, said: &[ScoredAnswer<'_>]) -> Result<Vec<f32>>;

    /// Whether it can only score answers to prompts whose right answer is known.
    fn needs_expected(&self) -> bool {
        false
    }
}

/// Judges with a function of one answer, for tests and for users of the crate.
pub struct Function<F>(pub F);

impl<F: FnMut(ScoredAnswer<'_>) -> f32> Judge for Function<F> {
    fn score(&mut self, said: &[ScoredAnswer<'_>]) -> Result<Vec<f32>> {
        Ok(said.iter().map(|said| (self.0)(*said)).collect())
    }
}

/// The sum of the weights of the different words in an answer: repeating a word adds nothing, otherwise the best answer
/// would be one word over and over.
#[derive(Debug)]
pub struct Lexicon(HashMap<String, f32>);

impl Lexicon {
    /// Reads lines of `word<TAB>weight`; skips empty lines and lines that begin with `#`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] naming the line.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        Self::parse(&text).map_err(|reason| Error::data(path, reason))
    }

    /// The lexicon that comes with wgpt (`data/sentiment.tsv`).
    ///
    /// # Errors
    /// None in practice: a test parses the file.
    pub fn sentiment() -> Result<Self> {
        Self::parse(SENTIMENT).map_err(Error::Config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut words = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = line.split_once('\t').and_then(|(word, weight)| {
                let weight: f32 = weight.trim().parse().ok().filter(|weight: &f32| weight.is_finite())?;
                Some((word.trim().to_lowercase(), weight))
            });
            let (word, weight) = entry.ok_or_else(|| {
                format!(
                    "line {} is not a word, a tab and a number: {:?}",
                    index + 1,
                    line.chars().take(40).collect::<String>()
                )
            })?;
            words.insert(word, weight);
        }
        if words.is_empty() { Err("no line has a word, a tab and a number".to_string()) } else { Ok(Self(words)) }
    }

    /// The sum of the weights of the different words in `text`, ignoring case, added in order of appearance.
    pub fn sum(&self, text: &str) -> f32 {
        let words = text.split(|letter: char| !(letter.is_alphanumeric() || letter == '\'')).filter(|w| !w.is_empty());
        let mut met = HashSet::new();
        let lower = words.map(|word| word.trim_matches('\'').to_lowercase());
        lower.filter_map(|word| self.0.get(&word).filter(|_| met.insert(word))).sum()
    }
}

impl Judge for Lexicon {
    fn score(&mut self, said: &[ScoredAnswer<'_>]) -> Result<Vec<f32>> {
        Ok(said.iter().map(|said| self.sum(said.answer)).collect())
    }
}

/// A program that reads a line `{"prompt", "answer", "expected"}` for each answer and writes a line with a number for
/// each. It is started anew for every batch.
#[derive(Debug)]
pub struct Script(pub String);

impl Script {
    /// The script that runs `command`, checked as far as possible without running it: its program must exist and be
    /// executable.
    ///
    /// # Errors
    /// [`Error::Judge`].
    pub fn open(command: &str) -> Result<Self> {
        #[cfg(unix)]
        missing(command).map_or(Ok(()), |reason| Err(Error::Judge { judge: format!("script:{command}"), reason }))?;
        Ok(Self(command.to_string()))
    }
}

/// Why the shell cannot start a command; `None` if it can, or if only the shell can tell.
#[cfg(unix)]
fn missing(command: &str) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let program = command.split_whitespace().next()?;
    if !program.chars().all(|letter| letter.is_alphanumeric() || "/._-+".contains(letter)) {
        return None;
    }
    if !program.contains('/') {
        let known = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).stdout(Stdio::null()).status();
        let beside =
            if Path::new(program).is_file() { format!("; for the file here write ./{program}") } else { String::new() };
        return known.is_ok_and(|status| !status.success()).then(|| format!("has no program {program}{beside}"));
    }
    match Path::new(program).metadata() {
        Err(error) => Some(format!("cannot be started: {program}: {error}")),
        Ok(file) if !file.is_file() => Some(format!("cannot be started: {program} is not a file")),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => {
            Some(format!("cannot be started: {program} is not executable (chmod +x {program})"))
        }
        Ok(_) => None,
    }
}

impl Judge for Script {
    fn score(&mut self, said: &[ScoredAnswer<'_>]) -> Result<Vec<f32>> {
        let failed = |reason: String| Error::Judge { judge: self.0.clone(), reason };
        let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut command = Command::new(shell);
        command.arg(option).arg(&self.0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| failed(format!("does not start: {error}")))?;
        let lines: String = said
            .iter()
            .map(|said| {
                format!("{}\n", json!({"prompt": said.prompt, "answer": said.answer, "expected": said.expected}))
            })
            .collect();
        let stdin = child.stdin.take();
        // The program may answer before it has read everything, so writing and reading run in parallel.
        let output = std::thread::scope(|scope| {
            // A write error is ignored: if the program stops reading, its output shows what went wrong.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(lines.as_bytes())));
            child.wait_with_output()
        });
        let output = output.map_err(|error| failed(format!("cannot be read: {error}")))?;
        if !output.status.success() {
            return Err(failed(format!("ended with {}", output.status)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let number = |line: &str| {
            let number = line.trim().parse::<f32>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| failed(format!("wrote {line:?}: write one number per line")))
        };
        let scores = text.lines().filter(|line| !line.trim().is_empty()).map(number).collect::<Result<Vec<_>>>()?;
        if scores.len() != said.len() {
            return Err(failed(format!(
                "wrote {} for {}",
                counted(scores.len(), "number"),
                counted(said.len(), "answer")
            )));
        }
        Ok(scores)
    }
}

/// 1 for an answer whose final number equals that of the expected answer, else 0 (as in GSM8K: the number after the
/// last `####`, or else the last number).
#[derive(Debug)]
pub struct Exact;

impl Judge for Exact {
    fn score(&mut self, said: &[ScoredAnswer<'_>]) -> Result<Vec<f32>> {
        let right = |said: &ScoredAnswer<'_>| match said.expected {
            None => Err(unanswered("exact", said.prompt)),
            Some(expected) => Ok(if same(said.answer, expected) { 1.0 } else { 0.0 }),
        };
        said.iter().map(right).collect()
    }

    fn needs_expected(&self) -> bool {
        true
    }
}

/// 1 for an answer that has the expected one in it, as whole words in large or small letters, and does not say the same over
/// and over; else 0. Several expected ones, any of which will do, have ` | ` between them.
#[derive(Debug)]
pub struct Contains;

impl Judge for Contains {
    fn score(&mut self, said: &[ScoredAnswer<'_>]) -> Result<Vec<f32>> {
        let right = |said: &ScoredAnswer<'_>| {
            let expected = said.expected.ok_or_else(|| unanswered("contains", said.prompt))?.to_lowercase();
            let answer = said.answer.to_lowercase();
            let mut phrases = expected.split(" | ").map(str::trim).filter(|phrase| !phrase.is_empty());
            let found = phrases.any(|phrase| has(&answer, phrase));
            Ok(if found && !repeats(&answer) { 1.0 } else { 0.0 })
        };
        said.iter().map(right).collect()
    }

    fn needs_expected(&self) -> bool {
        true
    }
}

/// The error about a prompt whose right answer is not known.
pub(super) fn unanswered(judge: &str, prompt: &str) -> Error {
    let prompt: String = prompt.chars().take(60).collect();
    let reason = format!("needs the right answer to {prompt:?}: give \"answer\" beside every prompt");
    Error::Judge { judge: judge.to_string(), reason }
}

fn same(answer: &str, expected: &str) -> bool {
    match (final_number(answer), final_number(expected)) {
        (Some(answer), Some(expected)) => answer == expected,
        (None, None) => answer.trim() == expected.trim(),
        _ => false,
    }
}

/// The final number in a text.
fn final_number(text: &str) -> Option<f64> {
    let tail = text.rsplit_once("####").map_or(text, |(_, tail)| tail);
    let plain = tail.replace(',', "");
    let words = plain.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'));
    words.rev().find_map(|word| word.trim_end_matches(['.', '-']).parse().ok())
}

/// The judge that `spec` names, for example `lexicon:FILE`; all judges except reward models, which need a GPU.
///
/// # Errors
/// [`Error::Setting`] listing what is accepted, [`Error::Io`], [`Error::Data`], and [`Error::Judge`] for a script that cannot
/// be started.
pub fn open(spec: &str) -> Result<Box<dyn Judge>> {
    let (kind, rest) = spec.split_once(':').unwrap_or((spec, ""));
    match (kind, rest) {
        ("lexicon", "") => Ok(Box::new(Lexicon::sentiment()?)),
        ("lexicon", file) => Ok(Box::new(Lexicon::open(Path::new(file))?)),
        ("script", command) if !command.is_empty() => Ok(Box::new(Script::open(command)?)),
        ("exact", "") => Ok(Box::new(Exact)),
        ("contains", "") => Ok(Box::new(Contains)),
        ("length", wanted) if wanted.parse::<usize>().is_ok() => {
            let wanted: f32 = wanted.parse().unwrap_or_default();
            Ok(Box::new(Function(move |said: ScoredAnswer<'_>| {
                -(said.answer.chars().count() as f32 - wanted).abs() / wanted.max(1.0)
            })))
        }
        ("pattern", text) if !text.is_empty() => {
            let text = text.to_string();
            Ok(Box::new(Function(move |said: ScoredAnswer<'_>| said.answer.matches(&text).count() as f32)))
        }
        _ => {
            let known = "lexicon, lexicon:FILE, reward:RUN, script:COMMAND, exact, contains, length:CHARACTERS or \
                         pattern:TEXT";
            Err(Error::setting("judge", spec, format!("give {known}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(answer: &'a str, expected: Option<&'a str>) -> ScoredAnswer<'a> {
        ScoredAnswer { prompt: "?", messages: &[], answer, expected }
    }

    #[test]
    fn a_lexicon_adds_up_words() {
        let lexicon = Lexicon::parse("# weights\nGood\t1\nbad\t-1.5\n\n").unwrap();
        assert_eq!(lexicon.sum("Good, good 'bad' goodness!"), -0.5);
        assert_eq!(lexicon.sum(""), 0.0);
        assert!(Lexicon::parse("good 1").unwrap_err().contains("line 1"));
        assert!(Lexicon::parse("# none").is_err());
        let own = Lexicon::sentiment().unwrap();
        assert!(own.sum("sweet love and joy") > 2.0 && own.sum("cruel death and grief") < -2.0);
        let (good, bad) = own.0.values().fold((0, 0), |(g, b), w| if *w > 0.0 { (g + 1, b) } else { (g, b + 1) });
        assert!(good >= 70 && bad >= 70, "{good} {bad}");
    }

    #[cfg(unix)]
    #[test]
    fn a_script_answers_a_number_per_line() {
        let mut judge = Script("awk '{ print length($0) }'".to_string());
        let many: Vec<_> =
            (0..3000).map(|i| if i % 2 == 0 { said("ab", None) } else { said("abcd", Some("x")) }).collect();
        let scores = judge.score(&many).unwrap();
        assert_eq!((scores.len(), scores[0] < scores[1]), (3000, true));
        let says = |command: &str, words: &str| {
            let error = Script(command.to_string()).score(&many[..2]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        says("exit 3", "ended with");
        says("echo 1", "wrote 1 number for 2 answers");
        says("echo 1; echo nan", "one number per line");
    }

    #[cfg(unix)]
    #[test]
    fn a_script_that_cannot_start_is_refused_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("score.sh");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let script = script.to_str().unwrap();
        let says = |command: &str, words: &str| {
            let error = Script::open(command).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        says(&format!("{script} fast"), "is not executable (chmod +x");
        says(&format!("{script}x"), "No such file");
        says(folder.path().to_str().unwrap(), "is not a file");
        says("no-such-program-at-all 1", "has no program no-such-program-at-all");
        // The shell's own words, and what only the shell can tell.
        for command in ["awk '{ print 1 }'", "exit 3", "while read line; do echo 1; done", "A=1 true", "\"$HOME/x\""] {
            Script::open(command).unwrap();
        }
    }

    #[test]
    fn exact_answers_are_compared_as_numbers() {
        let score = |answer, expected| Exact.score(&[said(answer, Some(expected))]).unwrap()[0];
        assert_eq!(score("So 6 * 7 = 42.\n#### 42", "6 times 7\n#### 42.0"), 1.0);
        assert_eq!(score("it is 1,200.", "#### 1200"), 1.0);
        assert_eq!(score("#### 41", "#### 42"), 0.0);
        assert_eq!(score("none", "#### 42"), 0.0);
        assert_eq!(score("-3", "-3"), 1.0);
        assert!(Exact.score(&[said("42", None)]).is_err());
    }

    #[test]
    fn an_answer_contains_one_that_is_expected() {
        let score = |answer, expected| Contains.score(&[said(answer, Some(expected))]).unwrap()[0];
        assert_eq!(score("It is PARIS.", "Paris"), 1.0);
        assert_eq!(score("It is in Parish.", "Paris | the city of light"), 0.0);
        assert_eq!(score("The city of light!", "Paris | the city of light"), 1.0);
        assert_eq!(score("首都是巴黎。", "巴黎"), 1.0);
        assert_eq!(score("Paris Paris Paris Paris", "Paris"), 0.0);
        assert_eq!(score("Paris", ""), 0.0);
        assert!(Contains.score(&[said("Paris", None)]).unwrap_err().to_string().contains("contains"));
    }

    #[test]
    fn judges_are_named() {
        let score = |spec: &str, answer: &str| open(spec).unwrap().score(&[said(answer, None)]).unwrap()[0];
        assert_eq!(score("length:4", "abcdef"), -0.5);
        assert_eq!(score("pattern:ab", "ab cab"), 2.0);
        assert!(score("lexicon", "happy") > 0.0);
        for wrong in ["script:", "length:x", "pattern:", "oracle"] {
            assert!(open(wrong).is_err_and(|error| error.to_string().starts_with("judge ")));
        }
    }
}
