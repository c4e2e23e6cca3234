//! The transcripts of hh-rlhf (Bai et al. 2022): "\n\nHuman: ...\n\nAssistant: ...". Two of them share a prompt.

use super::{
    prompt::Prompt,
    tally::{Mistake, Refusal},
};
use crate::text::Message;

const MARKS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

/// The first turn marker in `text`: its position, its length, and the role.
fn next_mark(text: &str) -> Option<(usize, usize, &'static str)> {
    MARKS.iter().filter_map(|(mark, role)| Some((text.find(mark)?, mark.len(), *role))).min()
}

/// The turns of a transcript, trimmed. Text that only looks like a turn marker ends a turn too; the format cannot tell
/// them apart.
pub fn parse(text: &str) -> Result<Vec<Message>, Refusal> {
    let text = format!("\n\n{}", text.trim_start());
    let Some((0, ..)) = next_mark(&text) else {
        let start: String = text.trim_start().chars().take(20).collect();
        return Err(Refusal::new(Mistake::NoTranscript, format!("it begins with {start:?}")));
    };
    let (mut turns, mut rest) = (Vec::new(), text.as_str());
    while let Some((start, length, role)) = next_mark(rest) {
        rest = &rest[start + length..];
        let end = next_mark(rest).map_or(rest.len(), |(end, ..)| end);
        turns.push(Message::new(role, rest[..end].trim()));
    }
    Ok(turns)
}

/// Removes the last answers of two conversations; the rest must be the same.
pub fn common(mut chosen: Vec<Message>, mut rejected: Vec<Message>) -> Result<(Prompt, String, String), Refusal> {
    let answer = |turns: &mut Vec<Message>, name: &str| match turns.pop() {
        Some(last) if last.role == "assistant" => Ok(last.content),
        _ => Err(Refusal::new(Mistake::NoAnswer, format!("\"{name}\""))),
    };
    let (better, worse) = (answer(&mut chosen, "chosen")?, answer(&mut rejected, "rejected")?);
    if chosen != rejected {
        let same = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
        let detail = format!("{same} turns are the same, then there are {} and {}", chosen.len(), rejected.len());
        return Err(Refusal::new(Mistake::NoCommonPrompt, detail));
    }
    Ok((Prompt::conversation(chosen)?, better, worse))
}

/// The transcript of a prompt and an answer; [`None`] if [`parse`] would not return the same turns.
pub fn write(prompt: &Prompt, answer: &str) -> Option<String> {
    let turns: Vec<_> = prompt.messages().iter().cloned().chain([Message::new("assistant", answer.trim())]).collect();
    let mut text = String::new();
    for turn in &turns {
        let (mark, _) = MARKS.iter().find(|(_, role)| *role == turn.role)?;
        text += &format!("{mark} {}", turn.content.trim());
    }
    let trimmed = turns.into_iter().map(|turn| Message::new(turn.role, turn.content.trim()));
    parse(&text).is_ok_and(|parsed| parsed.into_iter().eq(trimmed)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_go_both_ways() {
        let text = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why?\n\nand how\n\nAssistant: So.";
        let mut turns = parse(text).unwrap();
        assert_eq!(turns.len(), 4);
        assert_eq!(turns[2], Message::new("user", "Why?\n\nand how"));
        turns.pop();
        let prompt = Prompt::conversation(turns).unwrap();
        assert_eq!(write(&prompt, "So.").as_deref(), Some(text));
        assert_eq!(write(&prompt, "So.\n\nHuman: and then?"), None, "it would be read as two turns");
        let system = Prompt::conversation(vec![Message::new("system", "Be terse."), Message::new("user", "Hi")]);
        assert_eq!(write(&system.unwrap(), "So."), None);
    }

    #[test]
    fn mistakes_are_told_apart() {
        let of = |chosen: &str, rejected: &str| {
            common(parse(chosen)?, parse(rejected)?).map_err(|refusal| refusal.clone()).map(|_| ())
        };
        let good = "\n\nHuman: Hi\n\nAssistant: Yes?";
        assert_eq!(of(good, "\n\nHuman: Hi\n\nAssistant: No."), Ok(()));
        for (other, mistake) in [
            ("Hi\n\nAssistant: No.", Mistake::NoTranscript),
            ("", Mistake::NoTranscript),
            ("\n\nHuman: Hi", Mistake::NoAnswer),
            ("\n\nHuman: Ho\n\nAssistant: No.", Mistake::NoCommonPrompt),
            ("\n\nHuman: Hi\n\nAssistant: No.\n\nHuman: Oh\n\nAssistant: Yes?", Mistake::NoCommonPrompt),
        ] {
            assert_eq!(of(good, other).unwrap_err().mistake, mistake, "{other:?}");
        }
    }
}
