//! Formats a conversation as the text that a model was trained to continue.
//!
//! Models come with a Jinja template for this. It is run as `transformers` runs it, but with a limit on its work,
//! because model files are not trusted.

use std::time::Duration;

use minijinja::{Environment, ErrorKind, Value, context, syntax::SyntaxConfig, value::Kwargs};
use serde::Serialize;
use web_time::{SystemTime, UNIX_EPOCH};

use super::date::strftime;
use crate::{Error, Result};

/// A template's budget: an instruction costs one unit, and so do 64 bytes of text. Real templates need some hundreds
/// per message.
const FUEL: u64 = 500_000;

/// Length in bytes of the longest template accepted; real ones have up to 20 KiB.
const LONGEST: usize = 1 << 16;

/// The maximum number of `~` and `+` in a template. A chain of constants is joined while the template is parsed, before
/// any [`FUEL`] is counted, in quadratic time. Real templates have about a hundred.
const JOINS: usize = 4000;

/// Stack size in bytes for the template engine. It recurses over expressions and values, which a template may nest as
/// deep as its length and [`FUEL`] allow. Only the pages that are touched use memory.
#[cfg(not(target_family = "wasm"))]
const STACK: usize = 1 << 28;

/// Template for models whose vocabulary has a token that ends texts, but no tokens around roles.
pub(super) const TURNS: &str = "{% for m in messages %}{{ (m['role'] | title) ~ ':\n' ~ (m['content'] | trim) ~ (eos_token if m['role'] == 'assistant' else '') ~ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}";

/// Template for models without any special token: each turn is one line, and the line's end ends it.
pub(super) const LINES: &str = "{% for m in messages %}{{ (m['role'] | title) ~ ':\n' ~ (m['content'] | trim | replace('\n', ' ')) ~ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}";

pub(super) const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// "system", "user" or "assistant"; a template may know further roles.
    pub role: String,
    /// The message's text.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A parsed template, ready to render.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Parses a Jinja template. `bos` and `eos` are the texts of those tokens, empty if the model has none.
    ///
    /// # Errors
    /// [`Error::Template`] with the line of the error.
    pub fn new(template: &str, bos: &str, eos: &str) -> Result<Self> {
        if template.len() > LONGEST {
            return Err(Error::Template(format!("{} bytes are too long", template.len())));
        }
        let joins = template.bytes().filter(|byte| b"~+".contains(byte)).count();
        if joins > JOINS {
            return Err(Error::Template(format!("{joins} of ~ and + are too many")));
        }
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(error)?);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(100);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |reason: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.add_function("strftime_now", |format: String| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            strftime(&format, now.as_secs())
        });
        on_large_stack(|| environment.add_template_owned("chat", without_generation_tags(template)))?;
        Ok(Self { environment, bos: bos.into(), eos: eos.into() })
    }

    /// The ChatML template, with `<|im_start|>role`, a newline, the content and `<|im_end|>`: the default for models
    /// without a template of their own.
    ///
    /// # Errors
    /// None.
    pub fn chatml() -> Result<Self> {
        Self::new(CHATML, "", "")
    }

    /// The text of a conversation. With `add_generation_prompt` it ends where the assistant's answer begins. The text
    /// contains special tokens, including the bos token if the template adds one; encode it with
    /// [`Tokenizer::encode_special`](super::Tokenizer::encode_special).
    ///
    /// # Errors
    /// [`Error::Template`] if the template refuses the conversation (some refuse a system message), fails, or takes too
    /// much work.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let turn = |m: &Message| Value::from_pairs([("role", m.role.as_str()), ("content", m.content.as_str())]);
        on_large_stack(|| {
            let known = context! {
                messages => messages.iter().map(turn).collect::<Vec<_>>(), add_generation_prompt,
                bos_token => self.bos.as_str(), eos_token => self.eos.as_str(), tools => Value::from(()),
                documents => Value::from(()),
            };
            self.environment.get_template("chat")?.render(known)
        })
    }
}

/// A browser's stack size cannot be changed; a template nested too deeply ends the page's worker.
#[cfg(target_family = "wasm")]
fn on_large_stack<T>(work: impl FnOnce() -> Result<T, minijinja::Error>) -> Result<T> {
    work().map_err(error)
}

#[cfg(not(target_family = "wasm"))]
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, minijinja::Error> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || work().map_err(error));
        let thread = thread.map_err(|e| Error::Template(format!("no memory to run it: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::Template("the template engine failed".into())))
    })
}

fn error(e: minijinja::Error) -> Error {
    let line = e.line().map(|line| format!(" (line {line} of the template)")).unwrap_or_default();
    let reason = match e.kind() {
        ErrorKind::OutOfFuel => "it takes too much work".into(),
        kind => e.detail().map_or_else(|| kind.to_string(), str::to_string),
    };
    Error::Template(reason + &line)
}

/// `transformers` marks the assistant's text with `{% generation %}`; removing the tags does not change the output.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out += before;
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end);
        out += &match tag[2..].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+') {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_string(),
        };
        rest = after;
    }
    out + rest
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let wrong = |e: serde_json::Error| minijinja::Error::new(ErrorKind::InvalidOperation, e.to_string());
    let indent: Option<usize> = options.get("indent")?;
    let mut out = Vec::new();
    if let Some(indent) = indent {
        let indent = " ".repeat(indent.min(16));
        let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty)).map_err(wrong)?;
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, SpacedFormatter)).map_err(wrong)?;
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&out).into_owned()))
}

/// JSON on one line with a space after commas and colons.
struct SpacedFormatter;

impl serde_json::ser::Formatter for SpacedFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, w: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, w: &mut W, first: bool) -> std::io::Result<()> {
        self.begin_array_value(w, first)
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        w.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String> {
        let messages = [Message::new("user", " Hi <b> "), Message::new("assistant", "好")];
        ChatTemplate::new(template, "<s>", "</s>")?.render(&messages, true)
    }

    #[test]
    fn templates_run_as_in_transformers() {
        let text = ChatTemplate::chatml().unwrap().render(&[Message::new("user", "a\nb")], true).unwrap();
        assert_eq!(text, "<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\n");
        let llama = "{{ bos_token }}{% for m in messages %}\n  {% if m['role'] == 'user' %}\n[INST] {{ m.content.strip() }} [/INST]\n  {%- else %}\n{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}\n  {% endif %}\n{% endfor %}";
        assert_eq!(render(llama).unwrap(), "<s>[INST] Hi <b> [/INST]好</s>");
        assert_eq!(render("{{ messages[0] | tojson }}").unwrap(), r#"{"role": "user", "content": " Hi <b> "}"#);
        let namespace = "{% set ns = namespace(n=0) %}{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ tools is none }}{{ x is defined }}{{ messages[-1].role.title() }}";
        assert_eq!(render(namespace).unwrap(), "1TrueFalseAssistant");
        assert_eq!(render("{{ strftime_now('%Y')|length }}").unwrap(), "4");
    }

    #[test]
    fn hostile_templates_end_in_an_error() {
        let message = |template: &str| render(template).unwrap_err().to_string();
        assert_eq!(
            message("a\n{{ raise_exception('no system') }}"),
            "chat template: no system (line 2 of the template)"
        );
        assert!(message("{% for %}").contains("line 1"));
        assert!(
            message("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}").contains("work")
        );
        assert!(message("{{ 'x' * 1000000000000 }}").starts_with("chat template"));
        let doubling = "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}";
        assert!(message(doubling).contains("work"));
        assert!(message("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").starts_with("chat template"));
        assert!(message("{% include 'other' %}").starts_with("chat template"));
        for part in [
            "(",
            "[",
            "not ",
            "-",
            ".b",
            "|title",
            "+1",
            "~1",
            "~'ab'",
            "+'ab'",
            "[0]",
            "()",
            " if 1 else 1",
            " and 1",
            "{% if 1 %}",
        ] {
            let joins = if part.contains(['~', '+']) { JOINS } else { LONGEST };
            let deep = part.repeat((LONGEST / part.len() - 8).min(joins));
            assert!(render(&format!("{{{{ {deep}")).is_err());
            // Either outcome is acceptable, as long as it does not crash.
            let _ = render(&format!("{{{{ 1{deep} }}}}"));
        }
        for show in ["", "{{ ns.v }}", "{{ ns.v|tojson }}", "{{ ns.v == ns.v }}"] {
            let nested = "{% set ns = namespace(v=1) %}{% for i in range(50000) %}{% set ns.v = [ns.v] %}{% endfor %}";
            let _ = render(&format!("{nested}{show}"));
        }
    }
}
