//! Parses what a rater types, and formats verdicts the way a rater would type them.

use wgpt::feedback::Verdict;

/// The accepted replies.
pub(crate) const HELP: &str = "b        B is the best
b>a=c>d  a full ranking; = for equally good answers
a 4      a score of 1 to 5; several too: a 4 b 2
s        skip
q        end; what was rated is kept";

/// A parsed line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Verdict(Verdict),
    Help,
    Quit,
}

/// The letter of an answer.
pub(crate) fn letter(index: usize) -> char {
    char::from(b'A' + (index % 26) as u8)
}

impl Reply {
    /// Parses a line about `count` answers. The error is a message for the rater.
    pub fn parse(line: &str, count: usize) -> Result<Self, String> {
        let line = line.trim().to_lowercase();
        match line.as_str() {
            "s" | "skip" => return Ok(Self::Verdict(Verdict::Skip)),
            "q" | "quit" => return Ok(Self::Quit),
            "" | "?" | "help" => return Ok(Self::Help),
            _ => {}
        }
        if line.contains(['>', '=']) {
            return ranking(&line, count).map(Self::Verdict);
        }
        if !line.contains(|letter: char| letter.is_ascii_digit()) {
            return match answer(&line, count)? {
                _ if count < 2 => Err("there is nothing to compare it with: give a score, as in a 4".to_string()),
                best => Ok(Self::Verdict(Verdict::Best(best))),
            };
        }
        scores(&line, count).map(Self::Verdict)
    }
}

/// The index of the answer that a letter stands for.
fn answer(text: &str, count: usize) -> Result<usize, String> {
    let all = (0..count).find(|&index| text.trim() == letter(index).to_lowercase().to_string());
    let last = letter(count.saturating_sub(1));
    all.ok_or_else(|| format!("{:?} is none of A to {last}; ? tells what can be said", text.trim()))
}

fn ranking(line: &str, count: usize) -> Result<Verdict, String> {
    let mut ranks = vec![0u32; count];
    let mut rank = 1;
    for group in line.split('>') {
        let equal: Vec<_> = group.split('=').collect();
        for text in &equal {
            let index = answer(text, count)?;
            if std::mem::replace(&mut ranks[index], rank) != 0 {
                return Err(format!("{} stands twice in the ranking", letter(index)));
            }
        }
        rank += equal.len() as u32;
    }
    match ranks.iter().position(|rank| *rank == 0) {
        Some(missing) => Err(format!("{} is missing from the ranking: name all answers", letter(missing))),
        None if count < 2 => Err("there is nothing to compare it with: give a score, as in a 4".to_string()),
        None => Ok(Verdict::Ranking(ranks)),
    }
}

fn scores(line: &str, count: usize) -> Result<Verdict, String> {
    let mut scores = vec![None; count];
    // "a4,b2" is read like "a 4 b 2".
    let mut spaced = String::new();
    for letter in line.chars() {
        match letter {
            ',' | ';' | ':' => spaced.push(' '),
            letter if letter.is_alphabetic() => spaced.extend([' ', letter, ' ']),
            letter => spaced.push(letter),
        }
    }
    let words: Vec<_> = spaced.split_whitespace().collect();
    for pair in words.chunks(2) {
        let [who, score] = pair else { return Err(format!("{} has no score: a 4 b 2", pair[0])) };
        let index = answer(who, count)?;
        let given = score.parse::<u8>().ok().filter(|score| (1..=5).contains(score));
        let given = given.ok_or_else(|| format!("{score:?} is no score: give 1 (bad) to 5 (good)"))?;
        if scores[index].replace(f64::from(given)).is_some() {
            return Err(format!("{} has two scores", letter(index)));
        }
    }
    Ok(Verdict::Scores(scores))
}

/// A verdict in the form in which it would be typed.
pub(crate) fn typed(verdict: &Verdict) -> String {
    let lower = |index: usize| letter(index).to_ascii_lowercase();
    match verdict {
        Verdict::Best(best) => lower(*best).to_string(),
        Verdict::Skip => "s".to_string(),
        Verdict::Scores(scores) => {
            let given = scores.iter().enumerate().filter_map(|(index, score)| Some((index, (*score)?)));
            given.map(|(index, score)| format!("{} {score}", lower(index))).collect::<Vec<_>>().join(" ")
        }
        Verdict::Ranking(ranks) => {
            let mut order: Vec<_> = (0..ranks.len()).collect();
            order.sort_by_key(|&index| ranks[index]);
            let groups = order.chunk_by(|&a, &b| ranks[a] == ranks[b]);
            let group = |group: &[usize]| group.iter().map(|&i| lower(i).to_string()).collect::<Vec<_>>().join("=");
            groups.map(group).collect::<Vec<_>>().join(">")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        let ranking = Verdict::Ranking(vec![2, 1, 2, 4]);
        for (line, verdict) in [
            ("b", Verdict::Best(1)),
            ("b>a=c>d", ranking.clone()),
            ("a 4", Verdict::Scores(vec![Some(4.0), None, None, None])),
            ("a 4 d 2", Verdict::Scores(vec![Some(4.0), None, None, Some(2.0)])),
            ("s", Verdict::Skip),
        ] {
            assert_eq!(Reply::parse(line, 4), Ok(Reply::Verdict(verdict.clone())));
            assert_eq!(typed(&verdict), line);
        }
        assert_eq!(Reply::parse(" B > C = A > D ", 4), Ok(Reply::Verdict(ranking)));
        assert_eq!(Reply::parse("a4,d2", 4), Reply::parse("a 4 d 2", 4));
        assert_eq!(Reply::parse("Q", 2), Ok(Reply::Quit));
        assert_eq!(Reply::parse("a 4", 1), Ok(Reply::Verdict(Verdict::Scores(vec![Some(4.0)]))));
    }

    #[test]
    fn mistakes_are_told() {
        for (line, words) in [
            ("c", "\"c\" is none of A to B"),
            ("a>b>a", "A stands twice"),
            ("a=", "\"\" is none"),
            ("a>c", "\"c\" is none"),
            ("a 6", "1 (bad) to 5 (good)"),
            ("a 2.5", "1 (bad) to 5 (good)"),
            ("a 4 b", "b has no score"),
            ("a 4 a 5", "A has two scores"),
            ("better", "is none of"),
            ("4", "has no score"),
        ] {
            let told = Reply::parse(line, 2).unwrap_err();
            assert!(told.contains(words), "{line}: {told}");
        }
        assert!(Reply::parse("a>b", 3).unwrap_err().contains("C is missing"));
        assert!(Reply::parse("a", 1).unwrap_err().contains("give a score"));
    }
}
