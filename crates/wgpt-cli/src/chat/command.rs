//! The commands available in a chat: settings, coloured tokens, and a bar chart of a token's candidates.

use super::super::output;
use wgpt::{
    Result,
    conversation::{Answer, Choice, Conversation},
    error::counted,
    text::{Message, Tokenizer},
};

/// A line that begins with a slash.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Temperature(f32),
    System(String),
    Reset,
    Tokens,
    Why(usize),
    Help,
    Quit,
}

const HELP: &str = "/temperature X   sampling temperature of the next answers; 0 takes the best token
/system TEXT     set the system message, and start over
/reset           start over
/tokens          the last exchange, token by token
/why [N]         what the N-th token of the last answer was chosen from
/quit            end";

impl Command {
    /// Parses a command; [`None`] if the line is a message. The error is a message for the user.
    pub fn parse(line: &str) -> Result<Option<Self>, String> {
        let Some(rest) = line.trim().strip_prefix('/') else { return Ok(None) };
        let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let argument = argument.trim();
        Ok(Some(match name {
            "temperature" => match argument.parse::<f32>() {
                Ok(value) if value.is_finite() && value >= 0.0 => Self::Temperature(value),
                _ => return Err("/temperature takes a number, 0 or more: /temperature 0.7".to_string()),
            },
            "system" => Self::System(argument.to_string()),
            "reset" => Self::Reset,
            "tokens" => Self::Tokens,
            "why" if argument.is_empty() => Self::Why(1),
            "why" => match argument.parse() {
                Ok(position) if position > 0 => Self::Why(position),
                _ => return Err("/why takes the number of a token of the answer, from 1: /why 3".to_string()),
            },
            "help" | "?" => Self::Help,
            "quit" | "exit" | "bye" => Self::Quit,
            _ => return Err(format!("there is no command /{name}\n{HELP}")),
        }))
    }

    /// Executes the command and returns the text to show.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn run(self, conversation: &mut Conversation<'_>, last: Option<&Answer>) -> Result<String> {
        const NOTHING: &str = "nothing was said yet";
        Ok(match self {
            Self::Temperature(value) => {
                conversation.sampling.temperature = value;
                format!("temperature {value}")
            }
            Self::System(text) => {
                conversation.restart((!text.is_empty()).then(|| Message::new("system", text)));
                "a new conversation".to_string()
            }
            Self::Reset => {
                let system = conversation.system().cloned();
                conversation.restart(system);
                "a new conversation".to_string()
            }
            Self::Tokens => last.map_or(NOTHING.to_string(), |last| tokens(conversation.tokenizer(), last)),
            Self::Why(position) => match last {
                Some(last) => match conversation.why(last, position - 1).await? {
                    Some(choice) => why(conversation.tokenizer(), &choice),
                    None => "the answer is not that long".to_string(),
                },
                None => NOTHING.to_string(),
            },
            Self::Help => HELP.to_string(),
            Self::Quit => String::new(),
        })
    }
}

/// Background colours that make neighbouring tokens distinguishable (256-colour palette).
const BACKGROUNDS: [u8; 4] = [24, 58, 53, 22];

/// The last exchange, token by token: alternating backgrounds, ids below.
fn tokens(tokenizer: &Tokenizer, answer: &Answer) -> String {
    let colours = std::env::var_os("NO_COLOR").is_none();
    let all: Vec<u32> = answer.prompt().iter().chain(&answer.generated.tokens).copied().collect();
    let paint = |index: usize, text: &str| match colours {
        true => format!("\x1b[48;5;{}m{text}\x1b[0m", BACKGROUNDS[index % BACKGROUNDS.len()]),
        false => format!("[{text}]"),
    };
    let visible = |id: u32| tokenizer.token_text(id).replace('\n', "⏎").replace('\t', "⇥");
    let text: String = all.iter().enumerate().map(|(index, &id)| paint(index, &visible(id))).collect();
    let ids: Vec<_> = all.iter().map(|id| id.to_string()).collect();
    format!("{text}\n{}\n{}", ids.join(" "), counted(all.len(), "token"))
}

/// What a token was chosen from.
fn why(tokenizer: &Tokenizer, choice: &Choice) -> String {
    let mut lines =
        vec![format!("{:?} was chosen, at temperature {}, from:", tokenizer.token_text(choice.id), choice.temperature)];
    for candidate in &choice.candidates {
        let share = f64::from(candidate.logprob).exp();
        let token = format!("{:?}", tokenizer.token_text(candidate.id));
        lines.push(format!("{token:>18} {:5.1}% {}", share * 100.0, output::share(share, 40)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn lines_are_told_from_commands() {
        assert_eq!(Command::parse("what is 1/2?"), Ok(None));
        assert_eq!(Command::parse("/temperature 0.3"), Ok(Some(Command::Temperature(0.3))));
        assert_eq!(Command::parse(" /why "), Ok(Some(Command::Why(1))));
        assert_eq!(Command::parse("/system You are terse."), Ok(Some(Command::System("You are terse.".into()))));
        for wrong in ["/temperature", "/temperature -1", "/temperature NaN", "/why 0", "/sing"] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
    }
}
