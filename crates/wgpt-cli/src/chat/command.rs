//! What one can do in a chat besides talking.

use super::show;
use wgpt::{
    Result,
    conversation::{Answer, Conversation},
    text::Message,
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

const HELP: &str = "/temperature X   how wild the next answers are; 0 takes the best token
/system TEXT     set the instructions, and start again
/reset           start again
/tokens          the last exchange, token by token
/why [N]         what the N-th token of the last answer was chosen from
/quit            end";

impl Command {
    /// The command on a line; none when the line is something to say. A mistake comes as what to tell.
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

    /// Does it, and says what there is to say.
    ///
    /// # Errors
    /// Those of the driver.
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
            Self::Tokens => last.map_or(NOTHING.to_string(), |last| show::tokens(conversation.tokenizer(), last)),
            Self::Why(position) => match last {
                Some(last) => match conversation.why(last, position - 1).await? {
                    Some(choice) => show::why(conversation.tokenizer(), &choice),
                    None => "the answer is not that long".to_string(),
                },
                None => NOTHING.to_string(),
            },
            Self::Help => HELP.to_string(),
            Self::Quit => String::new(),
        })
    }
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
