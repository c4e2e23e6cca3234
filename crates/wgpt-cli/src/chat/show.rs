//! Tokens in colour, and the bars of a choice.

use super::super::terminal;
use wgpt::{
    conversation::{Answer, Choice},
    text::Tokenizer,
};

/// Backgrounds that neighbours differ in (256-colour palette).
const BACKGROUNDS: [u8; 4] = [24, 58, 53, 22];

/// The last exchange, token by token: alternating backgrounds, ids below.
pub(super) fn tokens(tokenizer: &Tokenizer, answer: &Answer) -> String {
    let colours = std::env::var_os("NO_COLOR").is_none();
    let all: Vec<u32> = answer.prompt().iter().chain(&answer.generated.tokens).copied().collect();
    let paint = |index: usize, text: &str| match colours {
        true => format!("\x1b[48;5;{}m{text}\x1b[0m", BACKGROUNDS[index % BACKGROUNDS.len()]),
        false => format!("[{text}]"),
    };
    let visible = |id: u32| tokenizer.token_text(id).replace('\n', "⏎").replace('\t', "⇥");
    let text: String = all.iter().enumerate().map(|(index, &id)| paint(index, &visible(id))).collect();
    let ids: Vec<_> = all.iter().map(|id| id.to_string()).collect();
    format!("{text}\n{}\n{} tokens", ids.join(" "), all.len())
}

/// What a token was chosen from.
pub(super) fn why(tokenizer: &Tokenizer, choice: &Choice) -> String {
    let mut lines =
        vec![format!("{:?} was chosen, at temperature {}, from:", tokenizer.token_text(choice.id), choice.temperature)];
    for candidate in &choice.candidates {
        let share = f64::from(candidate.logprob).exp();
        let token = format!("{:?}", tokenizer.token_text(candidate.id));
        lines.push(format!("{token:>18} {:5.1}% {}", share * 100.0, terminal::share(share, 40)));
    }
    lines.join("\n")
}
