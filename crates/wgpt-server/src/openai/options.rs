//! The fields that chats and completions share: how tokens are sampled, and how many are generated.

use serde_json::{Value, json};

use crate::{
    app::{Limits, Secrets},
    input::Fields,
    problem::{Problem, short},
};
use wgpt::infer::sampler::Sampling;

/// Maximum number of stop texts, and maximum length of each in bytes.
const STOPS: (usize, usize) = (4, 1024);

/// Maximum number of biased tokens.
const BIASES: usize = 1024;

/// The fields that [`Options::read`] reads.
pub const FIELDS: &[&str] = &[
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "stream",
    "stream_options",
    "response_format",
    // With the values that mean what wgpt does anyway.
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "modalities",
    "verbosity",
    "add_generation_prompt",
];

/// Fields that are no concern of the answer: who asks, in what order of precedence, what a cache or an index may use.
pub const IGNORED: &[&str] = &[
    "user",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "cache_prompt",
    "prediction",
];

/// All options of a request except its prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How tokens are sampled; the seed is that of the first choice.
    pub sampling: Sampling,
    /// Number of answers.
    pub choices: usize,
    /// Maximum number of tokens; as many as fit if not given.
    pub count: Option<usize>,
    /// Texts that end an answer.
    pub stops: Vec<String>,
    /// OpenAI's `presence_penalty`.
    pub presence_penalty: f32,
    /// OpenAI's `frequency_penalty`.
    pub frequency_penalty: f32,
    /// Values to add to the scores of tokens.
    pub bias: Vec<(u32, f32)>,
    /// Whether tokens are sent as they are generated.
    pub stream: bool,
    /// Whether a stream ends with its token usage.
    pub usage: bool,
    /// Whether the answer is a JSON object.
    pub json: bool,
}

impl Options {
    /// Reads the options; `vocabulary` is the model's vocabulary size.
    ///
    /// # Errors
    /// 400 naming the field.
    pub fn read(fields: &Fields, limits: &Limits, secrets: &Secrets, vocabulary: usize) -> Result<Self, Problem> {
        let default = Sampling::default();
        let number = |name, range, or| fields.number(name, range).map(|given| given.map_or(or, |given| given as f32));
        let sampling = Sampling {
            temperature: number("temperature", 0.0..=2.0, default.temperature)?,
            // OpenAI allows 0, which means only the best token.
            top_p: number("top_p", 0.0..=1.0, default.top_p)?.max(1e-6),
            top_k: fields.integer("top_k", 0..=u64::MAX)?.map_or(0, |k| k.min(vocabulary as u64) as usize),
            min_p: number("min_p", 0.0..=1.0, default.min_p)?,
            repetition_penalty: number("repetition_penalty", 0.01..=100.0, default.repetition_penalty)?,
            seed: seed(fields)?.unwrap_or_else(|| secrets.next()),
        };
        let no_tools = "leave it out: tool calls are not supported";
        fields.refuse("tools", no_tools)?;
        fields.refuse("functions", no_tools)?;
        for (name, usual, instead) in [
            ("tool_choice", json!("auto"), no_tools),
            ("function_call", json!("auto"), no_tools),
            ("parallel_tool_calls", json!(true), no_tools),
            ("modalities", json!(["text"]), "answers are texts"),
            ("verbosity", json!("medium"), "ask for short or long answers in a message"),
        ] {
            if fields.get(name) != Some(&usual) {
                fields.refuse(name, instead)?;
            }
        }
        if fields.get("add_generation_prompt").is_some_and(|value| *value != json!(true)) {
            return Err(Problem::field(
                "add_generation_prompt",
                "must be true; use /v1/completions to continue a text",
            ));
        }
        fields.refuse("reasoning_effort", "leave it out: models answer at once, or think as they were trained to")?;
        fields.refuse("store", "leave it out: answers are not kept")?;
        fields.refuse("continue_final_message", "use /v1/completions to continue a text")?;
        fields.refuse("chat_template", "it is given when the server is started")?;
        fields.refuse("chat_template_kwargs", "leave it out: the chat template gets the messages only")?;
        fields.refuse("documents", "put them into a message")?;
        let counts =
            [fields.integer("max_completion_tokens", 1..=u64::MAX)?, fields.integer("max_tokens", 1..=u64::MAX)?];
        let count = counts.into_iter().flatten().min();
        Ok(Self {
            sampling,
            choices: fields.integer("n", 1..=limits.choices as u64)?.unwrap_or(1) as usize,
            count: count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            stops: stops(fields)?,
            presence_penalty: number("presence_penalty", -2.0..=2.0, 0.0)?,
            frequency_penalty: number("frequency_penalty", -2.0..=2.0, 0.0)?,
            bias: bias(fields, vocabulary)?,
            stream: fields.flag("stream")?,
            usage: usage(fields)?,
            json: json(fields)?,
        })
    }

    /// The sampling of choice number `choice`; each choice has its own seed.
    pub fn sampling_of(&self, choice: usize) -> Sampling {
        Sampling { seed: self.sampling.seed.wrapping_add((choice as u64) << 32), ..self.sampling }
    }
}

/// Any integer, including negative ones.
fn seed(fields: &Fields) -> Result<Option<u64>, Problem> {
    let whole = |value: &Value| value.as_u64().or_else(|| value.as_i64().map(|seed| seed as u64));
    let seed = |value| whole(value).ok_or_else(|| Problem::field("seed", "must be an integer"));
    fields.get("seed").map(seed).transpose()
}

fn stops(fields: &Fields) -> Result<Vec<String>, Problem> {
    let wrong = || {
        let (count, bytes) = STOPS;
        Problem::field("stop", format!("must be a string or up to {count} strings, each of 1 to {bytes} bytes"))
    };
    let one = |value: &Value| {
        let text = value.as_str().filter(|text| (1..=STOPS.1).contains(&text.len()));
        text.map(str::to_string).ok_or_else(wrong)
    };
    match fields.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= STOPS.0 => list.iter().map(one).collect(),
        Some(Value::Array(_)) => Err(wrong()),
        Some(value) => Ok(vec![one(value)?]),
    }
}

fn bias(fields: &Fields, vocabulary: usize) -> Result<Vec<(u32, f32)>, Problem> {
    let wrong = |what: &str| {
        let reason = format!("{what}; give up to {BIASES} tokens by id, each with a number from -100 to 100");
        Problem::field("logit_bias", reason)
    };
    let Some(value) = fields.get("logit_bias") else { return Ok(Vec::new()) };
    let map =
        value.as_object().filter(|map| map.len() <= BIASES).ok_or_else(|| wrong("wrong type or too many entries"))?;
    let one = |(id, bias): (&String, &Value)| {
        let id = id.parse::<u32>().ok().filter(|id| (*id as usize) < vocabulary);
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        id.zip(bias).map(|(id, bias)| (id, bias as f32))
    };
    map.iter()
        .map(|entry| one(entry).ok_or_else(|| wrong(&format!("{}: {}", short(entry.0), short(entry.1)))))
        .collect()
}

fn usage(fields: &Fields) -> Result<bool, Problem> {
    let wrong = || Problem::field("stream_options", "must be {\"include_usage\": true} or {\"include_usage\": false}");
    let Some(value) = fields.get("stream_options") else { return Ok(false) };
    let mut usage = false;
    for (name, value) in value.as_object().ok_or_else(wrong)? {
        match (name.as_str(), value) {
            ("include_usage", Value::Bool(wanted)) => usage = *wanted,
            // Padding against eavesdroppers on an encrypted connection, which this server does not have.
            ("include_obfuscation", Value::Bool(_)) | (_, Value::Null | Value::Bool(false)) => {}
            _ => return Err(wrong()),
        }
    }
    Ok(usage)
}

fn json(fields: &Fields) -> Result<bool, Problem> {
    let Some(format) = fields.get("response_format") else { return Ok(false) };
    // Some servers take a schema beside "json_object".
    let more =
        format.as_object().is_some_and(|format| format.iter().any(|(name, value)| name != "type" && !value.is_null()));
    match format.get("type").and_then(Value::as_str) {
        Some("text") if !more => Ok(false),
        Some("json_object") if !more => Ok(true),
        Some("json_schema" | "json_object") => {
            let reason =
                "a schema is not supported; use {\"type\": \"json_object\"} and describe the object in a message";
            Err(Problem::field("response_format", reason))
        }
        _ => Err(Problem::field("response_format", "must be {\"type\": \"text\"} or {\"type\": \"json_object\"}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, Problem> {
        Options::read(&Fields::parse(text.as_bytes()).unwrap(), &Limits::default(), &Secrets::default(), 100)
    }

    #[test]
    fn values_that_change_nothing_are_accepted() {
        let usual = r#"{"tool_choice": "auto", "function_call": "none", "parallel_tool_calls": true, "modalities": ["text"],
            "verbosity": "medium", "add_generation_prompt": true, "reasoning_effort": "none", "store": false, "tools": null,
            "stream_options": {"include_usage": true, "include_obfuscation": true, "other": null},
            "max_tokens": 9, "max_completion_tokens": 7, "response_format": {"type": "text", "json_schema": null}}"#;
        let usual = read(usual).unwrap();
        assert_eq!((usual.usage, usual.json, usual.count), (true, false, Some(7)));
    }

    #[test]
    fn options_are_read_and_bounded() {
        let all = read(
            r#"{"temperature": 0, "top_p": 0, "top_k": 5, "seed": -1, "n": 2, "max_tokens": 1e9, "stop": "a",
                "logit_bias": {"7": -100, "99": 3.5}, "stream": true, "stream_options": {"include_usage": true},
                "response_format": {"type": "json_object"}, "tools": [], "user": "x"}"#,
        )
        .unwrap();
        assert_eq!((all.sampling.temperature, all.sampling.top_k, all.sampling.seed), (0.0, 5, u64::MAX));
        assert_eq!((all.choices, all.count, &all.stops[..]), (2, Some(1_000_000_000), &["a".to_string()][..]));
        assert_eq!(all.bias, [(7, -100.0), (99, 3.5)]);
        assert!(all.stream && all.usage && all.json && all.sampling.validate().is_ok());
        assert_ne!(all.sampling_of(1).seed, all.sampling_of(0).seed);
        assert_ne!(read("{}").unwrap().sampling.seed, read("{}").unwrap().sampling.seed);
        for (field, value) in [
            ("temperature", "3"),
            ("temperature", "\"hot\""),
            ("top_p", "1.5"),
            ("top_k", "-1"),
            ("min_p", "2"),
            ("n", "0"),
            ("n", "17"),
            ("max_tokens", "0"),
            ("max_tokens", "1.5"),
            ("stop", "\"\""),
            ("stop", r#"["a","b","c","d","e"]"#),
            ("presence_penalty", "9"),
            ("logit_bias", r#"{"100": 1}"#),
            ("logit_bias", r#"{"a": 1}"#),
            ("stream", "1"),
            ("seed", "1.5"),
            ("response_format", r#"{"type": "json_schema"}"#),
            ("response_format", r#""json""#),
            ("tools", r#"[{"type": "function"}]"#),
            ("continue_final_message", "true"),
            ("chat_template_kwargs", r#"{"enable_thinking": false}"#),
            ("documents", r#"[{"text": "a"}]"#),
            ("tool_choice", "\"required\""),
            ("parallel_tool_calls", "1"),
            ("modalities", r#"["text", "audio"]"#),
            ("verbosity", "\"low\""),
            ("add_generation_prompt", "false"),
            ("reasoning_effort", "\"low\""),
            ("store", "true"),
            ("stream_options", r#"{"include_usage": "yes"}"#),
            ("stream_options", r#"{"continuous_usage_stats": true}"#),
            ("response_format", r#"{"type": "json_object", "schema": {}}"#),
        ] {
            let problem = read(&format!("{{\"{field}\": {value}}}")).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some(field), "{value}");
        }
    }
}
