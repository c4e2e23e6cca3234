//! What chat templates expect of Python and Jinja2 beyond what minijinja has.

use chrono::format::{Item, StrftimeItems};
use minijinja::{
    Environment, Error, ErrorKind, State, Value,
    value::{Kwargs, Rest, ValueKind, from_args},
};
use serde::Serialize;

/// The largest width that a template may pad a text to, or precision of a number: a width costs no fuel.
const WIDEST: usize = 10_000;

/// The largest JSON that a template may write, in bytes, and the longest separator between its items: neither costs fuel before
/// it is there.
const LARGEST: usize = 4 << 20;
const SEPARATOR: usize = 64;

/// Adds everything to `environment`.
pub(super) fn extend(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", to_json);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("wordcount", |text: &str| text.split_whitespace().count());
    environment
        .add_filter("center", |text: &str, width: Option<usize>| padded(text, width.unwrap_or(80), ' ', Side::Both));
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.to_vec()));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_function("raise_exception", |reason: String| Err::<Value, _>(wrong(reason)));
    environment.add_function("strftime_now", |format: &str| date(format, chrono::Local::now()));
}

fn wrong(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// A date in C's `strftime` format, or an error for an unknown directive.
fn date<Z: chrono::TimeZone>(format: &str, moment: chrono::DateTime<Z>) -> Result<String, Error>
where
    Z::Offset: std::fmt::Display,
{
    let items: Vec<_> = StrftimeItems::new(format).collect();
    match items.contains(&Item::Error) {
        true => Err(wrong(format!("strftime does not know a directive of {format:?}"))),
        false => Ok(moment.format_with_items(items.iter()).to_string()),
    }
}

/// Methods of values that minijinja leaves to its users.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if name == "format" {
            check_widths(text)?;
        }
        if let Some(result) = text_method(text, name, args) {
            return result;
        }
    }
    if value.kind() == ValueKind::Seq && name == "index" {
        let (wanted,): (&Value,) = from_args(args)?;
        let at = value.try_iter()?.position(|item| item == *wanted);
        return at.map(Value::from).ok_or_else(|| wrong(format!("{wanted} is not in the list")));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Refuses widths and precisions over [`WIDEST`] in a format string, and those that are given as arguments.
fn check_widths(format: &str) -> Result<(), Error> {
    let mut fields = format.split('{').skip(1).peekable();
    while let Some(field) = fields.next() {
        let open = !field.contains('}');
        if open && fields.peek().is_some() && field.contains(':') {
            return Err(wrong("a width that is an argument is not supported"));
        }
        let inside = field.split('}').next().unwrap_or_default();
        let numbers = inside.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        if numbers.into_iter().any(|digits| digits.parse::<usize>().map_or(true, |number| number > WIDEST)) {
            return Err(wrong(format!("a width or precision is over {WIDEST}")));
        }
    }
    Ok(())
}

/// Methods of texts that `pycompat` lacks; [`None`] for others.
fn text_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let character = |at: usize| text[..at].chars().count();
    let found = |at: Option<usize>| at.map(|at| Value::from(character(at))).ok_or_else(|| wrong("substring not found"));
    let one = || from_args::<(&str,)>(args).map(|(argument,)| argument);
    let pad = |side: Side| {
        let (width, fill): (usize, Option<char>) = from_args(args)?;
        padded(text, width, fill.unwrap_or(' '), side).map(Value::from)
    };
    let three = |before: &str, separator: &str, after: &str| {
        Value::from(vec![before.to_string(), separator.to_string(), after.to_string()])
    };
    Some(match name {
        "removeprefix" => one().map(|prefix| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => one().map(|suffix| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "index" => one().and_then(|part| found(text.find(part))),
        "rindex" => one().and_then(|part| found(text.rfind(part))),
        "partition" => one().map(|separator| match text.split_once(separator) {
            Some((before, after)) => three(before, separator, after),
            None => three(text, "", ""),
        }),
        "rpartition" => one().map(|separator| match text.rsplit_once(separator) {
            Some((before, after)) => three(before, separator, after),
            None => three("", "", text),
        }),
        "rsplit" => rsplit(text, args),
        "swapcase" => Ok(Value::from(swapped(text))),
        "center" => pad(Side::Both),
        "ljust" => pad(Side::Right),
        "rjust" => pad(Side::Left),
        "zfill" => from_args::<(usize,)>(args).and_then(|(width,)| {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let width = width.saturating_sub(sign.len());
            padded(digits, width, '0', Side::Left).map(|digits| Value::from(format!("{sign}{digits}")))
        }),
        _ => return None,
    })
}

fn swapped(text: &str) -> String {
    let swap =
        |c: char| -> String { if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() } };
    text.chars().map(swap).collect()
}

/// `str.rsplit(separator, most)`; without a separator at runs of white space.
fn rsplit(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, most, kwargs): (Option<&Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.cloned().or(kwargs.get::<Option<Value>>("sep")?).filter(|value| !value.is_none());
    let most = most.or(kwargs.get("maxsplit")?).unwrap_or(-1);
    kwargs.assert_all_used()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts: Vec<String> =
        match separator.as_ref().map(|value| value.as_str().ok_or_else(|| wrong("the separator is not a text"))) {
            Some(separator) => match separator? {
                "" => return Err(wrong("the separator is empty")),
                separator => text.rsplitn(most.saturating_add(1), separator).map(str::to_string).collect(),
            },
            None => {
                let (mut rest, mut parts) = (text.trim_end(), Vec::new());
                while !rest.is_empty() {
                    let start = match parts.len() < most {
                        true => rest
                            .rfind(char::is_whitespace)
                            .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8)),
                        false => 0,
                    };
                    parts.push(rest[start..].to_string());
                    rest = rest[..start].trim_end();
                }
                parts
            }
        };
    parts.reverse();
    Ok(Value::from(parts))
}

/// Where padding goes.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
    Both,
}

fn padded(text: &str, width: usize, fill: char, side: Side) -> Result<String, Error> {
    if width > WIDEST {
        return Err(wrong(format!("a width is over {WIDEST}")));
    }
    let missing = width.saturating_sub(text.chars().count());
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // As Python does: of an odd number, one more on the left if the width is odd.
        Side::Both => missing / 2 + (missing & width & 1),
    };
    let pad = |count: usize| std::iter::repeat_n(fill, count);
    Ok(pad(left).chain(text.chars()).chain(pad(missing - left)).collect())
}

/// Jinja2's `default(value, default_value="", boolean=False)`.
fn default(value: &Value, other: Option<Value>, lax: Option<bool>, kwargs: Kwargs) -> Result<Value, Error> {
    let other = other.or(kwargs.get("default_value")?).unwrap_or_else(|| Value::from(""));
    let lax = lax.or(kwargs.get("boolean")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    Ok(if value.is_undefined() || (lax && !value.is_true()) { other } else { value.clone() })
}

/// Python's `json.dumps` as `transformers` calls it: `ensure_ascii=False`, and `indent`, `separators` and `sort_keys` as given.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (ascii, sorted) = (options.get::<Option<bool>>("ensure_ascii")?, options.get::<Option<bool>>("sort_keys")?);
    options.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) if item.len().max(key.len()) <= SEPARATOR => (item.as_str(), key.as_str()),
        Some([_, _]) => return Err(wrong(format!("a separator is longer than {SEPARATOR} bytes"))),
        Some(_) => return Err(wrong("separators are two texts")),
        None => (if indent.is_some() { "," } else { ", " }, ": "),
    };
    let indent = indent.map(|indent| " ".repeat(indent.min(16)));
    let formatter = PythonFormatter { indent, depth: 0, item, key, ascii: ascii == Some(true), filled: false };
    let mut out = Bounded(Vec::new());
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    let written = match sorted {
        // The maps of `serde_json` are in the order of their keys.
        Some(true) => serde_json::to_value(value).and_then(|value| value.serialize(&mut serializer)),
        _ => value.serialize(&mut serializer),
    };
    written.map_err(|error| wrong(error.to_string()))?;
    Ok(Value::from_safe_string(String::from_utf8_lossy(&out.0).into_owned()))
}

/// At most [`LARGEST`] bytes.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST {
            return Err(std::io::Error::other(format!("the JSON has more than {LARGEST} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// JSON as Python's `json.dumps` writes it.
struct PythonFormatter<'a> {
    indent: Option<String>,
    depth: usize,
    /// Between items.
    item: &'a str,
    /// Between a key and its value.
    key: &'a str,
    ascii: bool,
    /// Whether the list or object that ends now has anything in it.
    filled: bool,
}

impl PythonFormatter<'_> {
    fn line<W: ?Sized + std::io::Write>(&self, w: &mut W) -> std::io::Result<()> {
        match &self.indent {
            Some(indent) => write!(w, "\n{}", indent.repeat(self.depth)),
            None => Ok(()),
        }
    }

    fn begin<W: ?Sized + std::io::Write>(&mut self, w: &mut W, bracket: &str) -> std::io::Result<()> {
        self.depth += 1;
        self.filled = false;
        w.write_all(bracket.as_bytes())
    }

    fn end<W: ?Sized + std::io::Write>(&mut self, w: &mut W, bracket: &str) -> std::io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(w)?;
        }
        self.filled = true;
        w.write_all(bracket.as_bytes())
    }

    fn next<W: ?Sized + std::io::Write>(&mut self, w: &mut W, first: bool) -> std::io::Result<()> {
        w.write_all(if first { b"" } else { self.item.as_bytes() })?;
        self.line(w)
    }
}

impl serde_json::ser::Formatter for PythonFormatter<'_> {
    fn begin_array<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        self.begin(w, "[")
    }

    fn end_array<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        self.end(w, "]")
    }

    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, w: &mut W, first: bool) -> std::io::Result<()> {
        self.next(w, first)
    }

    fn end_array_value<W: ?Sized + std::io::Write>(&mut self, _: &mut W) -> std::io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        self.begin(w, "{")
    }

    fn end_object<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        self.end(w, "}")
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, w: &mut W, first: bool) -> std::io::Result<()> {
        self.next(w, first)
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, w: &mut W) -> std::io::Result<()> {
        w.write_all(self.key.as_bytes())
    }

    fn end_object_value<W: ?Sized + std::io::Write>(&mut self, _: &mut W) -> std::io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn write_string_fragment<W: ?Sized + std::io::Write>(&mut self, w: &mut W, fragment: &str) -> std::io::Result<()> {
        if !self.ascii {
            return w.write_all(fragment.as_bytes());
        }
        for letter in fragment.chars() {
            match letter.is_ascii() {
                true => write!(w, "{letter}")?,
                false => letter.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(w, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results are those of Python 3.11 and Jinja2 3.1.
    #[test]
    fn methods_and_filters_are_those_of_python() {
        let mut environment = Environment::new();
        extend(&mut environment);
        let run = |text: &str| environment.render_str(text, ()).map_err(|error| format!("{error:#}"));
        for (text, expected) in [
            ("{{ 'a,b,c'.rsplit(',', 1) | tojson }}", r#"["a,b", "c"]"#),
            ("{{ ' a  b c '.rsplit(maxsplit=1) | tojson }}", r#"[" a  b", "c"]"#),
            ("{{ ' a  b c '.rsplit() | tojson }}", r#"["a", "b", "c"]"#),
            ("{{ 'a=b=c'.partition('=') | tojson }}", r#"["a", "=", "b=c"]"#),
            ("{{ 'abc'.partition('=') | tojson }}", r#"["abc", "", ""]"#),
            ("{{ 'a=b=c'.rpartition('=') | tojson }}", r#"["a=b", "=", "c"]"#),
            ("{{ 'abc'.rpartition('=') | tojson }}", r#"["", "", "abc"]"#),
            ("{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.md'.removesuffix('.md') }}", "xx"),
            ("{{ '-7'.zfill(4) }}{{ '42'.zfill(1) }}{{ '+5'.zfill(3) }}", "-00742+05"),
            ("{{ '永ab'.index('b') }}{{ 'abab'.rindex('a') }}{{ ['x', 'y'].index('y') }}", "221"),
            (
                "[{{ 'ab'.center(5) }}|{{ 'a'.center(4) }}|{{ 'ab'.ljust(4, '.') }}|{{ 'ab'.rjust(4) }}]",
                "[  ab | a  |ab..|  ab]",
            ),
            ("{{ 'aBc'.swapcase() }}", "AbC"),
            ("{{ '{:>4}|{:.2f}'.format('x', 1.239) }}", "   x|1.24"),
            (
                "{{ x | default('d') }}{{ '' | default('e', boolean=True) }}{{ '' | d('f', true) }}{{ '' | default('g') }}",
                "def",
            ),
            ("{{ 'one two  three' | wordcount }}", "3"),
            ("[{{ 'ab' | center(4) }}]", "[ ab ]"),
            ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}", "aba"),
            ("{% set j = joiner('+') %}{% for i in range(3) %}{{ j() }}{{ i }}{% endfor %}", "0+1+2"),
            ("{{ {'b': [1, {}], 'a': 'é😀'} | tojson }}", r#"{"b": [1, {}], "a": "é😀"}"#),
            (
                "{{ {'b': 1, 'a': 'é😀'} | tojson(ensure_ascii=True, sort_keys=True) }}",
                r#"{"a": "\u00e9\ud83d\ude00", "b": 1}"#,
            ),
            ("{{ {'a': [1, 2]} | tojson(separators=(',', ':')) }}", r#"{"a":[1,2]}"#),
            (
                "{{ {'a': [1, {'b': []}], 'c': {}} | tojson(indent=2) }}",
                "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}",
            ),
            ("{{ [1] | tojson(indent=1, separators=('; ', '=')) }}", "[\n 1\n]"),
        ] {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, words) in [
            ("{{ '{:>1000000000000}'.format('x') }}", "over 10000"),
            ("{{ '{:.99999999f}'.format(1.5) }}", "over 10000"),
            ("{{ '{:{}}'.format('x', 1000000000) }}", "argument"),
            ("{{ 'x'.ljust(1000000000000) }}", "over 10000"),
            ("{{ 'x'.zfill(1000000000000) }}", "over 10000"),
            ("{{ 'x' | center(1000000000000) }}", "over 10000"),
            ("{{ 'x'.index('y') }}", "substring not found"),
            ("{{ ['x'].index('y') }}", "not in the list"),
            ("{{ 'a'.rsplit('') }}", "separator is empty"),
            ("{{ strftime_now('%Q') }}", "directive"),
            ("{{ [1] | tojson(colour=1) }}", "colour"),
            ("{{ [1] | tojson(separators=('x' * 65, ':')) }}", "separator is longer"),
            ("{{ (['x' * 60000] * 100) | tojson }}", "more than 4194304 bytes"),
        ] {
            let error = run(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn dates_follow_strftime() {
        let moment = chrono::DateTime::from_timestamp(1_709_210_096, 0).unwrap();
        assert_eq!(
            date("%A, %d %B %Y %H:%M:%S %j %I %p %-d %%", moment).unwrap(),
            "Thursday, 29 February 2024 12:34:56 060 12 PM 29 %"
        );
        assert!(date("%", moment).is_err());
    }
}
