//! Error messages of the command line: the library's message plus the options that help.

use wgpt::{Error, error::GuardCause};

/// The message of an error, with advice.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::OnRank { rank, source } => format!("rank {rank}: {}", words(source)),
        Error::Setting { name, value, reason } => format!("{} {value}: {reason}", option(name)),
        Error::OtherSettings { .. } => {
            format!("--resume: {error}; use the same settings, or another --out for a new run")
        }
        Error::NoTimestamps { .. } => format!("--profile: {error}"),
        _ => match hint(error) {
            Some(hint) => format!("{error}{hint}"),
            None => error.to_string(),
        },
    }
}

/// The option that sets a setting.
fn option(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

/// Advice that follows the error's message.
fn hint(error: &Error) -> Option<String> {
    let text = match error {
        Error::UnknownAdapter { .. } => "; give --adapter an index or a part of a name",
        Error::DeviceLost { saved: Some(_), .. } | Error::Rank { saved: Some(_), .. } => {
            ": the same command with --resume goes on from there"
        }
        Error::DeviceLost { saved: None, .. } | Error::Rank { saved: None, .. } => ", run the command again",
        Error::WithoutMpi { .. } => ": build it with cargo build --release --features mpi",
        Error::OutOfMemory(_) => "; use a smaller --batch or --context, or --checkpoint-activations",
        Error::TooLarge { .. } => "; use a smaller model or --batch, or another --adapter",
        Error::TooFewTokens { .. } => "; use more text or a smaller --context",
        Error::EqualScores { .. } => "; give longer answers (--max-tokens), another --judge, or --no-normalise",
        Error::Diverged { .. } => "; lower --lr or raise --warmup",
        Error::Guarded { cause, .. } => return Some(format!("; {}", on_guard(cause))),
        Error::Stopped { out, .. } => {
            return Some(format!("; wgpt demo --resume --out {} goes on from there", out.display()));
        }
        Error::NoVariant { .. } => "; see wgpt doctor",
        _ => return None,
    };
    Some(text.to_string())
}

/// Advice about a guard's cause.
pub(crate) fn on_guard(cause: &GuardCause) -> &'static str {
    match cause {
        GuardCause::NotFinite { .. } => "lower --lr",
        GuardCause::SamplingGap { .. } => "try `wgpt doctor`",
        GuardCause::Kl { .. } => "lower --lr, or raise --kl or --max-kl",
        GuardCause::Repetition { .. } | GuardCause::Shortness { .. } => "lower --target-kl, or mend the judge",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn errors_name_the_options_that_help() {
        let lost = |saved: Option<&str>| Error::DeviceLost {
            reason: "reset".to_string(),
            kernel: "copy".to_string(),
            saved: saved.map(PathBuf::from),
        };
        let cases = [
            (Error::setting("min_p", 2, "give 0 to 1"), "--min-p 2: give 0 to 1"),
            (
                Error::OtherSettings { name: "schedule.lr".into(), then: "1.0".into(), now: "2.0".into() },
                "--resume: the run was started with schedule.lr = 1.0, now it is 2.0; use the same settings, or \
                 another --out for a new run",
            ),
            (
                Error::OnRank { rank: 3, source: Box::new(lost(Some("runs/a"))) },
                "rank 3: the GPU device was lost (reset; last kernel: copy); runs/a is whole: the same command with \
                 --resume goes on from there",
            ),
            (
                lost(None),
                "the GPU device was lost (reset; last kernel: copy); nothing was damaged, run the command again",
            ),
            (
                Error::Guarded { step: 7, cause: GuardCause::Kl { nats: 31.0, most: 30.0 } },
                "training stopped after step 7: the KL is 31.00 nats, over the limit of 30.00 (the last good \
                 checkpoint is kept); lower --lr, or raise --kl or --max-kl",
            ),
            (
                Error::Diverged { step: 9, loss: f32::INFINITY },
                "training stopped at step 9: the loss is inf (the last checkpoint is kept); lower --lr or raise \
                 --warmup",
            ),
            (Error::Usage("no".into()), "no"),
        ];
        for (error, expected) in cases {
            assert_eq!(words(&error), expected);
        }
    }
}
