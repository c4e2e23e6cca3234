//! Finds stop texts across the boundaries of tokens.

/// Searches a text that arrives in pieces for any of several texts. What could be the beginning of one is held back.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    texts: Vec<String>,
    held: String,
}

impl Stops {
    /// A matcher for `texts`, none of which may be empty.
    pub fn new(texts: Vec<String>) -> Self {
        Self { texts, held: String::new() }
    }

    /// Adds a piece. Returns what can be shown so far, and whether one of the texts was found; that text and everything
    /// after it are not shown. If several match, the one that begins first counts.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held += piece;
        if let Some(at) = self.texts.iter().filter_map(|text| self.held.find(text.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let rest = self.held.split_off(self.held.len() - self.beginning());
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// Ends the text and returns what is still held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Number of bytes at the end of the held text that form the beginning of one of the texts.
    fn beginning(&self) -> usize {
        let begins = |text: &String| {
            let longest = text.len().saturating_sub(1).min(self.held.len());
            // Both sides are UTF-8, so equal bytes end at the same character boundary.
            (1..=longest).rev().find(|&count| self.held.as_bytes().ends_with(&text.as_bytes()[..count]))
        };
        self.texts.iter().filter_map(begins).max().unwrap_or(0).min(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::random;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut matcher = Stops::new(stops.iter().map(|stop| stop.to_string()).collect());
        let (mut shown, mut met) = (Vec::new(), false);
        for piece in pieces {
            let (text, ended) = matcher.push(piece);
            shown.push(text);
            if ended {
                met = true;
                break;
            }
        }
        if !met {
            shown.push(matcher.finish());
        }
        (shown, met)
    }

    #[test]
    fn stops_are_met_across_borders() {
        assert_eq!(run(&["END"], &["a E", "N", "D b"]), (vec!["a ".into(), "".into(), "".into()], true));
        let held = (vec!["a ".into(), "".into(), "ENx".into(), "".into()], false);
        assert_eq!(run(&["END"], &["a E", "N", "x"]), held);
        assert_eq!(run(&["ab", "b"], &["xab"]), (vec!["x".into()], true), "the first one counts");
        assert_eq!(run(&["é!"], &["caf", "é", "!"]).0.concat(), "caf");
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]).0.concat(), "a");
        assert_eq!(run(&[], &["a", "b"]), (vec!["a".into(), "b".into(), "".into()], false));
    }

    #[test]
    fn pieces_make_no_difference() {
        for round in 0..400u64 {
            let letter = |counter| ["a", "b", "é"][random::below(round, 1, counter, 3) as usize];
            let text: String = (0..12).map(letter).collect();
            let stop: String = (100..100 + 1 + round % 3).map(letter).collect();
            let expected = text.find(&stop).map_or(&text[..], |at| &text[..at]);
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            let (shown, met) = run(&[&stop], &letters);
            assert_eq!((shown.concat().as_str(), met), (expected, text.contains(&stop)), "{stop:?} in {text:?}");
        }
    }
}
