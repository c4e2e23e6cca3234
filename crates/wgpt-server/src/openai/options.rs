//! The fields that chats and completions share: how tokens are sampled, and how many are generated.

use serde_json::Value;

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
        fields.refuse("tools", "leave it out: tool calls are not supported")?;
        fields.refuse("functions", "leave it out: tool calls are not supported")?;
        fields.refuse("continue_final_message", "use /v1/completions to continue a text")?;
        fields.refuse("chat_template", "it is given when the server is started")?;
        fields.refuse("chat_template_kwargs", "leave it out: the chat template gets the messages only")?;
        fields.refuse("documents", "put them into a message")?;
        let count = match fields.integer("max_completion_tokens", 1..=u64::MAX)? {
            None => fields.integer("max_tokens", 1..=u64::MAX)?,
            given => given,
        };
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
    match fields.get("stream_options") {
        None => Ok(false),
        Some(Value::Object(options)) => Ok(options.get("include_usage").and_then(Value::as_bool).unwrap_or(false)),
        Some(_) => Err(Problem::field("stream_options", "must be {\"include_usage\": true}")),
    }
}

fn json(fields: &Fields) -> Result<bool, Problem> {
    let Some(format) = fields.get("response_format") else { return Ok(false) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(false),
        Some("json_object") => Ok(true),
        Some("json_schema") => {
            let reason =
                "json_schema is not supported; use {\"type\": \"json_object\"} and describe the object in a message";
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
        ] {
            let problem = read(&format!("{{\"{field}\": {value}}}")).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some(field), "{value}");
        }
    }
}
