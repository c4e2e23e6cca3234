//! Formats a conversation as the text that a model was trained to continue.
//!
//! Models come with a Jinja template for this. It is run as `transformers` runs it, but with a limit on its work,
//! because model files are not trusted.

use minijinja::{Environment, ErrorKind, Value, context, syntax::SyntaxConfig, value::ValueKind};

use super::python;
use crate::{Error, Result};

/// A template's budget: an instruction costs one unit, and so do 64 bytes of text. Real templates need some hundreds
/// per message.
const FUEL: u64 = 500_000;

/// Length in bytes of the longest template accepted; real ones have up to 20 KiB.
pub const LONGEST: usize = 1 << 16;

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

const LLAMA3: &str = "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + (m['content'] | trim) + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

const GEMMA: &str = "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.system = (m['content'] | trim) + '\n\n' %}{% else %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + ns.system + (m['content'] | trim) + '<end_of_turn>\n' }}{% set ns.system = '' %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

const ZEPHYR: &str = "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}";

/// A well-known template, for a model that was taught one and does not say so.
pub fn named(name: &str) -> Option<&'static str> {
    let known = [("chatml", CHATML), ("llama3", LLAMA3), ("gemma", GEMMA), ("zephyr", ZEPHYR)];
    known.into_iter().find(|(known, _)| *known == name).map(|(_, template)| template)
}

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
    tokens: SpecialTokens,
}

/// The texts of a model's special tokens, by the names under which templates know them; empty if the model has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `bos_token`: begins a text.
    pub bos: String,
    /// `eos_token`: ends a text.
    pub eos: String,
    /// `unk_token`: what the tokenizer does not know.
    pub unknown: String,
    /// `pad_token`: fills up a batch.
    pub padding: String,
}

impl ChatTemplate {
    /// Parses a Jinja template.
    ///
    /// # Errors
    /// [`Error::Template`] with the line of the error.
    pub fn new(template: &str, tokens: SpecialTokens) -> Result<Self> {
        if template.len() > LONGEST {
            return Err(Error::Template(format!("{} bytes are too long", template.len())));
        }
        // As Jinja2 does.
        let template = &template.replace("\r\n", "\n").replace('\r', "\n");
        let joins = template.bytes().filter(|byte| b"~+".contains(byte)).count();
        if joins > JOINS {
            return Err(Error::Template(format!("{joins} of ~ and + are too many")));
        }
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(error)?);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(100);
        python::extend(&mut environment);
        on_large_stack(|| environment.add_template_owned("chat", without_generation_tags(template)).map_err(error))?;
        Ok(Self { environment, tokens })
    }

    /// The ChatML template, with `<|im_start|>role`, a newline, the content and `<|im_end|>`: the default for models
    /// without a template of their own.
    ///
    /// # Errors
    /// None.
    pub fn chatml() -> Result<Self> {
        Self::new(CHATML, SpecialTokens::default())
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
        let messages: Vec<_> = messages.iter().map(turn).collect();
        self.run(context! { messages, add_generation_prompt })
    }

    /// The same for conversations that [`Message`] cannot express, such as those with tools, parts of a message, or options
    /// of a single template: `variables` is a JSON object with what the template reads, `messages` among it. It takes
    /// precedence over the special tokens, and its objects stay in their order.
    ///
    /// # Errors
    /// [`Error::Template`] if `variables` is not a JSON object, and whenever [`render`](Self::render) fails.
    pub fn render_variables(&self, variables: &str) -> Result<String> {
        let value: Value =
            serde_json::from_str(variables).map_err(|e| Error::Template(format!("the variables are not JSON: {e}")))?;
        match value.kind() {
            ValueKind::Map => self.run(value),
            kind => Err(Error::Template(format!("the variables are not a JSON object but a value of type {kind}"))),
        }
    }

    fn run(&self, variables: Value) -> Result<String> {
        let SpecialTokens { bos, eos, unknown, padding } = &self.tokens;
        let known = context! {
            ..variables,
            ..context! {
                bos_token => bos.as_str(), eos_token => eos.as_str(), unk_token => unknown.as_str(),
                pad_token => padding.as_str(), tools => Value::from(()), documents => Value::from(()),
            }
        };
        on_large_stack(|| {
            let template = self.environment.get_template("chat").map_err(error)?;
            template.render(known).map_err(error)
        })
    }
}

/// A browser's stack size cannot be changed; a template nested too deeply ends the page's worker.
#[cfg(target_family = "wasm")]
pub(crate) fn on_large_stack<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    work()
}

#[cfg(not(target_family = "wasm"))]
std::thread_local! {
    /// Whether this thread's stack has [`STACK`] bytes.
    static LARGE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `work` on a thread with [`STACK`] bytes of stack. Starting a thread takes longer than rendering a conversation, so
/// fine-tuning, which renders thousands, wraps all of them in this.
///
/// # Errors
/// The errors of `work`, and [`Error::Template`] if it panics or there is no memory for the stack.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if LARGE.get() {
        return work();
    }
    std::thread::scope(|scope| {
        let work = || {
            LARGE.set(true);
            work()
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
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
    // The engine has no way to add operators.
    let hint = match reason.contains("use % operator on unsupported types string") {
        true => "; formatting a text with % is not supported, write \"..\" | format(..) instead",
        false => "",
    };
    Error::Template(reason + hint + &line)
}

/// `transformers` marks the assistant's text with `{% generation %}`, a block with variables of its own. So is `{% with %}`.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%").into_iter().chain(rest.find("{{")).chain(rest.find("{#")).min() {
        let (before, tag) = rest.split_at(start);
        out += before;
        let end = match &tag[..2] {
            "{#" => tag.find("#}").map(|end| end + 2),
            "{{" => end_of_code(tag, "}}"),
            _ => end_of_code(tag, "%}"),
        };
        let (tag, after) = tag.split_at(end.unwrap_or(tag.len()));
        rest = after;
        let name = tag.trim_matches(|c: char| c.is_whitespace() || "{%-+}".contains(c));
        match name {
            _ if !tag.starts_with("{%") => out += tag,
            "generation" => out += &tag.replace(name, "with"),
            "endgeneration" => out += &tag.replace(name, "endwith"),
            "raw" => {
                // Up to the next tag's name, so that its marks of white space stay.
                let end = rest.find("endraw").unwrap_or(rest.len());
                let start = rest[..end].rfind("{%").unwrap_or(end);
                out += tag;
                out += &rest[..start];
                let (end, after) =
                    rest[start..].split_at(rest[start..].find("%}").map_or(rest.len() - start, |at| at + 2));
                out += end;
                rest = after;
            }
            _ => out += tag,
        }
    }
    out + rest
}

/// The end of a tag that is closed by `close`, which may also be within a text there.
fn end_of_code(tag: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut letters = tag.char_indices().skip(2);
    while let Some((at, letter)) = letters.next() {
        match quote {
            Some(_) if letter == '\\' => drop(letters.next()),
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if tag[at..].starts_with(close) => return Some(at + close.len()),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String> {
        let messages = [Message::new("user", " Hi <b> "), Message::new("assistant", "好")];
        let text = String::from;
        let tokens =
            SpecialTokens { bos: text("<s>"), eos: text("</s>"), unknown: text("<unk>"), padding: text("<pad>") };
        ChatTemplate::new(template, tokens)?.render(&messages, true)
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
        assert_eq!(
            render("{{ unk_token + pad_token }}\r\n{{ bos_token }}\r{{ eos_token }}").unwrap(),
            "<unk><pad>\n<s>\n</s>"
        );
    }

    #[test]
    fn well_known_templates_have_their_models_form() {
        let messages =
            [Message::new("system", "Be brief."), Message::new("user", " Hi "), Message::new("assistant", "Yes?")];
        let of = |name: &str| {
            let tokens = SpecialTokens { bos: "<s>".into(), eos: "</s>".into(), ..Default::default() };
            ChatTemplate::new(named(name).unwrap(), tokens).unwrap().render(&messages, true).unwrap()
        };
        let llama3 = "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
        assert_eq!(of("llama3"), llama3);
        let gemma = "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n<start_of_turn>model\n";
        assert_eq!(of("gemma"), gemma);
        assert_eq!(
            of("zephyr"),
            "<|system|>\nBe brief.</s>\n<|user|>\n Hi </s>\n<|assistant|>\nYes?</s>\n<|assistant|>\n"
        );
        assert!(of("chatml").starts_with("<|im_start|>system\nBe brief.<|im_end|>\n") && named("none").is_none());
    }

    #[test]
    fn hostile_templates_end_in_an_error() {
        let message = |template: &str| render(template).unwrap_err().to_string();
        assert_eq!(
            message("a\n{{ raise_exception('no system') }}"),
            "chat template: no system (line 2 of the template)"
        );
        assert!(message("{% for %}").contains("line 1"));
        assert!(message("{{ '%s' % 'a' }}").contains("formatting a text with % is not supported"));
        assert!(
            message("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}").contains("work")
        );
        assert!(message("{{ 'x' * 1000000000000 }}").starts_with("chat template"));
        let doubling = "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}";
        assert!(message(doubling).contains("work"));
        for long in ["(range(90000) | list).count(1)", "('a ' * 100000).find('b')", "('a ' * 100000).split() | length"]
        {
            let (value, rest) = long.split_at(long.find(").").unwrap() + 1);
            let asks =
                format!("{{% set v = {value} %}}{{% for i in range(50000) %}}{{% set n = v{rest} %}}{{% endfor %}}");
            assert!(message(&asks).contains("work"), "{long}");
        }
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
