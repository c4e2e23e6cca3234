//! Error messages of the command line: the library's message plus the options that help.

use serde_json::Value;

use wgpt::{
    Error,
    error::{GuardCause, Origin},
};

/// The message of an error, with advice.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::OnRank { rank, source } => format!("rank {rank}: {}", words(source)),
        Error::Setting { name, value, reason } => format!("{} {value}: {reason}", option(name)),
        Error::OtherSettings { name, then, now } => {
            let what = match set_by(name) {
                SetBy::Option(option) => {
                    format!("the run was started with {option} {}, now it is {}", plain(then), plain(now))
                }
                SetBy::Switch(option) if then == "true" => format!("the run was started without {option}"),
                SetBy::Switch(option) => format!("the run was started with {option}"),
                SetBy::Content(options) => format!("the run was started with other content of {options}"),
                SetBy::Other => error.to_string(),
            };
            format!("--resume: {what}; use the same settings, or another --out for a new run")
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

/// What sets a setting that a resumed run must share with the run it continues.
enum SetBy {
    /// An option whose value it is.
    Option(String),
    /// A switch that turns it off.
    Switch(&'static str),
    /// The content of what these options name, of which the settings hold a hash.
    Content(&'static str),
    /// The command itself, or the model.
    Other,
}

/// What sets the setting at this path in a run's settings.
fn set_by(path: &str) -> SetBy {
    let named = match path {
        "data" => return SetBy::Content("--data or --feedback"),
        "base" => return SetBy::Content("--model"),
        "prompts" => return SetBy::Content("--prompts"),
        // Prompts that are held out of the others depend on both.
        "held_out" => return SetBy::Content("--prompts or --held-out"),
        "model" => return SetBy::Content("--model"),
        "config.vocabulary" => return SetBy::Content("--data or --tokenizer"),
        "algorithm.whiten_rewards" => return SetBy::Switch("--no-whiten-rewards"),
        "algorithm.whiten_advantages" => return SetBy::Switch("--no-whiten-advantages"),
        "algorithm.kind" | "optimizer.beta1" | "optimizer.epsilon" | "schedule.decay" => return SetBy::Other,
        "config.hidden" => "--width",
        "config.norm" | "config.norm_epsilon" | "config.activation" => "--family",
        "config.head_dim" | "config.qkv_bias" | "config.qk_norm" => return SetBy::Other,
        _ if path.starts_with("config.rope_") => return SetBy::Other,
        "optimizer.clip" => "--clip or --clip-norm",
        "lora" => "--lora-rank",
        "controller.beta" => "--kl or --fixed-kl",
        "controller.kind" => "--fixed-kl",
        "controller.target" => "--target-kl",
        "stops" => "--stop",
        "missing_stop" | "missing_stop.score" => "--missing-stop-score",
        "missing_stop.penalty" => "--missing-stop-penalty",
        _ if path.starts_with("lora.") => return SetBy::Option(option(&path.replace('.', "_"))),
        _ => return SetBy::Option(option(path.rsplit('.').next().unwrap_or(path))),
    };
    SetBy::Option(named.to_string())
}

/// A setting's JSON as an option takes it.
fn plain(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::Null) => "none".to_string(),
        Ok(Value::String(text)) => text,
        // An f32, which JSON writes with the digits of an f64.
        Ok(Value::Number(number)) => match number.as_f64() {
            Some(value) if number.is_f64() && f64::from(value as f32) == value => (value as f32).to_string(),
            _ => number.to_string(),
        },
        // Adapters that only one of the two runs has.
        Ok(Value::Object(fields)) if fields.contains_key("rank") => fields["rank"].to_string(),
        _ => json.to_string(),
    }
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
        Error::Diverged { origin, .. } => {
            return Some(format!("; {}", on_origin(origin.as_ref(), "lower --lr or raise --warmup")));
        }
        Error::NotNumbers { origin, .. } => {
            return Some(format!("; {}", on_origin(origin.as_ref(), "try `wgpt doctor`")));
        }
        Error::Guarded { cause, .. } => return Some(format!("; {}", on_guard(cause))),
        Error::Stopped { .. } => "; the same command with --resume goes on from there",
        Error::NoVariant { .. } => "; see wgpt doctor",
        _ => return None,
    };
    Some(text.to_string())
}

/// Advice about numbers that are not finite; `usual` for those that come from a computation.
fn on_origin(origin: Option<&Origin>, usual: &'static str) -> &'static str {
    match origin {
        Some(Origin::Weight { given: true, .. }) => "its file is broken: download or convert it again",
        Some(Origin::Weight { given: false, .. }) => {
            "go back to an earlier checkpoint, or download or convert its file again"
        }
        Some(Origin::Vanished) => "try `wgpt doctor`",
        Some(Origin::Computed { .. }) | None => usual,
    }
}

/// Advice about a guard's cause.
pub(crate) fn on_guard(cause: &GuardCause) -> &'static str {
    match cause {
        GuardCause::NotFinite { origin, .. } => on_origin(origin.as_ref(), "lower --lr"),
        GuardCause::SamplingGap { .. } => "try `wgpt doctor`",
        GuardCause::Kl { .. } => "lower --lr, or raise --kl or --max-kl",
        GuardCause::OverOptimised { .. } => {
            "use the checkpoint as it is, or go on with new ratings of its answers or with several reward models"
        }
        GuardCause::Repetition { .. } | GuardCause::Shortness { .. } => "lower --target-kl, or mend the judge",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::CommandFactory;
    use serde_json::json;

    use super::*;
    use wgpt::{
        model::{Config, lora::LoraConfig},
        train::{
            Settings,
            ppo::{self, settings::Algorithm},
            reward::{Objective, Recipe},
        },
    };

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
                Error::OtherSettings {
                    name: "schedule.lr".into(),
                    then: "0.0010000000474974513".into(),
                    now: "0.5".into(),
                },
                "--resume: the run was started with --lr 0.001, now it is 0.5; use the same settings, or another --out for a \
                 new run",
            ),
            (
                Error::OtherSettings { name: "lora".into(), then: "null".into(), now: "{\"rank\":8}".into() },
                "--resume: the run was started with --lora-rank none, now it is 8; use the same settings, or another \
                 --out for a new run",
            ),
            (
                Error::OtherSettings {
                    name: "algorithm.whiten_rewards".into(),
                    then: "false".into(),
                    now: "true".into(),
                },
                "--resume: the run was started with --no-whiten-rewards; use the same settings, or another --out for \
                 a new run",
            ),
            (
                Error::OtherSettings { name: "prompts".into(), then: "\"0f\"".into(), now: "\"f0\"".into() },
                "--resume: the run was started with other content of --prompts; use the same settings, or another \
                 --out for a new run",
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
                Error::Diverged { step: 9, what: "loss", value: f32::INFINITY, origin: None },
                "training stopped at step 9: the loss is inf (the last checkpoint is kept); lower --lr or raise \
                 --warmup",
            ),
            (
                Error::Diverged {
                    step: 0,
                    what: "loss",
                    value: f32::NAN,
                    origin: Some(Origin::Weight { name: "norm.weight".into(), given: true }),
                },
                "training stopped at step 0: the loss is NaN: norm.weight holds numbers that are not finite, as it did \
                 when the model was loaded (the last checkpoint is kept); its file is broken: download or convert it \
                 again",
            ),
            (Error::Usage("no".into()), "no"),
        ];
        for (error, expected) in cases {
            assert_eq!(words(&error), expected);
        }
    }

    /// Puts the paths of all values in `json` into `paths`.
    fn paths_of(json: &Value, path: &str, paths: &mut Vec<String>) {
        match json {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    paths_of(value, &format!("{path}{dot}{name}"), paths);
                }
            }
            _ => paths.push(path.to_string()),
        }
    }

    #[test]
    fn settings_are_named_by_options_that_exist() {
        let program = crate::Program::command();
        let exists = |option: &str| {
            let long = option.trim_start_matches("--");
            program.get_subcommands().any(|command| command.get_arguments().any(|it| it.get_long() == Some(long)))
        };
        let config = Config::llama(5, 4, 1, 2, 8);
        let lora = LoraConfig { rank: 1, alpha: 1.0, targets: Vec::new(), last: Some(1) };
        let mut paths = vec!["lora".to_string(), "missing_stop.score".into(), "missing_stop.penalty".into()];
        let settings = [
            json!(Settings::dpo(config.clone(), Some(lora))),
            json!(Settings { data: Some(String::new()), ..Settings::reward(config, Recipe::new(Objective::Pairs)) }),
            json!(ppo::settings::Settings::recipe(Algorithm::PPO)),
            json!(ppo::settings::Settings::recipe(Algorithm::GRPO)),
        ];
        settings.iter().for_each(|settings| paths_of(settings, "", &mut paths));
        let free = ["val_every", "save_every", "keep", "checkpoint_activations", "sample_tokens", "sample_every"];
        for path in paths.iter().filter(|path| !free.contains(&&***path) && !path.starts_with("limits.")) {
            let options = match set_by(path) {
                SetBy::Option(options) => options,
                SetBy::Switch(options) | SetBy::Content(options) => options.to_string(),
                SetBy::Other => continue,
            };
            for option in options.split(" or ") {
                assert!(exists(option), "{path} is named {option}, which no command has");
            }
        }
    }
}
