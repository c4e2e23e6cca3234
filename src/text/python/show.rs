//! Values as texts: Python's `str(value)` and `json.dumps(value)`.

use std::fmt::Write;

use minijinja::{
    Error, Value,
    value::{Kwargs, ValueKind},
};

use super::wrong;

/// The largest text of a value, in bytes, its depth, and the longest separator and indent within it: none of them costs fuel
/// before it is there.
const LARGEST: usize = 4 << 20;
const DEEPEST: usize = 500;
const SEPARATOR: usize = 64;

/// `str(value)` of a number, a list or an object, which minijinja writes in another way; [`None`] for others.
pub(super) fn text(value: &Value) -> Result<Option<String>, Error> {
    match value.kind() {
        ValueKind::Number if !value.is_integer() => Ok(f64::try_from(value.clone()).ok().map(float)),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            let mut writer = Writer { out: String::new(), json: None };
            writer.value(value, 0)?;
            Ok(Some(writer.out))
        }
        _ => Ok(None),
    }
}

/// Python's `repr` of a float: the shortest digits that read back the same, with an exponent if the number is small or large.
fn float(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "nan".into() } else { format!("{number}") };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..16 => format!("{number:?}"),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

/// Python's `json.dumps` as `transformers` calls it: `ensure_ascii=False`, and the other options as given.
pub(super) fn to_json(
    value: &Value,
    ascii: Option<bool>,
    indent: Option<Value>,
    separators: Option<Vec<String>>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ascii = ascii.or(options.get("ensure_ascii")?).unwrap_or(false);
    let indent = indent.or(options.get("indent")?).filter(|indent| !indent.is_none());
    let separators = separators.or(options.get("separators")?);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let bounded = |what: &str, text: String| match text.len() {
        0..=SEPARATOR => Ok(text),
        _ => Err(wrong(format!("{what} is longer than {SEPARATOR} bytes"))),
    };
    let indent = match indent {
        None => None,
        Some(indent) => Some(match (indent.as_str(), i64::try_from(indent.clone())) {
            (Some(text), _) => bounded("the indent", text.into())?,
            // As in Python, a negative width is none.
            (None, Ok(width)) => " ".repeat(
                usize::try_from(width.max(0))
                    .ok()
                    .filter(|width| *width <= SEPARATOR)
                    .ok_or_else(|| wrong(format!("the indent is longer than {SEPARATOR} bytes")))?,
            ),
            (None, Err(_)) => return Err(wrong(format!("the indent is a {}", indent.kind()))),
        }),
    };
    let [item, key] = match separators {
        Some(separators) => <[String; 2]>::try_from(separators).map_err(|_| wrong("separators are two texts"))?,
        None => [(if indent.is_some() { "," } else { ", " }).into(), ": ".into()],
    };
    let (item, key) = (bounded("a separator", item)?, bounded("a separator", key)?);
    let mut writer = Writer { out: String::new(), json: Some(Json { indent, item, key, ascii, sorted }) };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// The options of `json.dumps`.
struct Json {
    indent: Option<String>,
    /// Between items.
    item: String,
    /// Between a key and its value.
    key: String,
    ascii: bool,
    sorted: bool,
}

struct Writer {
    out: String,
    /// Whether this is JSON; `repr` if not.
    json: Option<Json>,
}

impl Writer {
    fn put(&mut self, text: &str) -> Result<(), Error> {
        if self.out.len() + text.len() > LARGEST {
            return Err(wrong(format!("the text of a value has more than {LARGEST} bytes")));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(wrong(format!("a value is nested deeper than {DEEPEST} times")));
        }
        match value.kind() {
            ValueKind::String => self.quoted(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let tuple = self.json.is_none() && value.is_tuple();
                self.put(if tuple { "(" } else { "[" })?;
                let mut count = 0;
                for item in value.try_iter()? {
                    self.separate(count == 0, depth + 1)?;
                    self.value(&item, depth + 1)?;
                    count += 1;
                }
                self.close(count == 0, depth)?;
                self.put(match (tuple, count) {
                    (true, 1) => ",)",
                    (true, _) => ")",
                    (false, _) => "]",
                })
            }
            ValueKind::Map => {
                let mut keys: Vec<_> = value.try_iter()?.collect();
                if self.json.as_ref().is_some_and(|json| json.sorted) {
                    keys.sort();
                }
                self.put("{")?;
                for (at, key) in keys.iter().enumerate() {
                    self.separate(at == 0, depth + 1)?;
                    self.key(key)?;
                    self.value(&value.get_item(key)?, depth + 1)?;
                }
                self.close(keys.is_empty(), depth)?;
                self.put("}")
            }
            _ => {
                let text = self.simple(value)?;
                self.put(&text)
            }
        }
    }

    /// Anything that has no parts.
    fn simple(&self, value: &Value) -> Result<String, Error> {
        let json = self.json.is_some();
        Ok(match value.kind() {
            ValueKind::None if json => "null".into(),
            ValueKind::Bool if json => value.to_string().to_lowercase(),
            ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone())? {
                number if json && number.is_nan() => "NaN".into(),
                number if json && number.is_infinite() => (if number > 0.0 { "Infinity" } else { "-Infinity" }).into(),
                number => float(number),
            },
            ValueKind::None | ValueKind::Bool | ValueKind::Number => value.to_string(),
            ValueKind::Undefined if !json => "Undefined".into(),
            kind if json => return Err(wrong(format!("a value of type {kind} cannot be written as JSON"))),
            _ => value.to_string(),
        })
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match (&self.json, key.as_str()) {
            (_, Some(text)) => self.quoted(text)?,
            (None, None) => self.value(key, 0)?,
            (Some(_), None) if matches!(key.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
                let text = self.simple(key)?;
                self.quoted(&text)?;
            }
            (Some(_), None) => return Err(wrong(format!("a key of type {} cannot be written as JSON", key.kind()))),
        }
        let between = self.json.as_ref().map_or_else(|| ": ".into(), |json| json.key.clone());
        self.put(&between)
    }

    /// What is before an item, the first one or a further one.
    fn separate(&mut self, first: bool, depth: usize) -> Result<(), Error> {
        if !first {
            let item = self.json.as_ref().map_or_else(|| ", ".into(), |json| json.item.clone());
            self.put(&item)?;
        }
        self.line(depth)
    }

    fn close(&mut self, empty: bool, depth: usize) -> Result<(), Error> {
        if empty { Ok(()) } else { self.line(depth) }
    }

    /// A new line in JSON with an indent.
    fn line(&mut self, depth: usize) -> Result<(), Error> {
        match self.json.as_ref().and_then(|json| json.indent.as_ref()) {
            Some(indent) => {
                let line = format!("\n{}", indent.repeat(depth));
                self.put(&line)
            }
            None => Ok(()),
        }
    }

    fn quoted(&mut self, text: &str) -> Result<(), Error> {
        // A character takes at most twelve bytes.
        if self.out.len() + text.len() > LARGEST {
            return self.put(text);
        }
        let quote = if self.json.is_some() || (text.contains('\'') && !text.contains('"')) { '"' } else { '\'' };
        self.out.push(quote);
        for letter in text.chars() {
            match &self.json {
                Some(json) => json_letter(&mut self.out, letter, json.ascii),
                None => python_letter(&mut self.out, letter, quote),
            }
        }
        self.out.push(quote);
        self.put("")
    }
}

fn json_letter(out: &mut String, letter: char, ascii: bool) {
    let short = match letter {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        '\0'..' ' => "",
        '\u{7f}'.. if ascii => "",
        _ => return out.push(letter),
    };
    match short {
        "" => {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        short => out.push_str(short),
    }
}

fn python_letter(out: &mut String, letter: char, quote: char) {
    let code = u32::from(letter);
    let _ = match letter {
        '\\' => write!(out, "\\\\"),
        '\n' => write!(out, "\\n"),
        '\r' => write!(out, "\\r"),
        '\t' => write!(out, "\\t"),
        letter if letter == quote => write!(out, "\\{letter}"),
        ' '..='~' => write!(out, "{letter}"),
        letter if letter.is_control() => write!(out, "\\x{code:02x}"),
        letter if printable(letter) => write!(out, "{letter}"),
        _ if code < 0x100 => write!(out, "\\x{code:02x}"),
        _ if code < 0x10000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Whether a letter can be seen. Rust's own escaping decides that in the same way; it escapes marks only where a text begins.
fn printable(letter: char) -> bool {
    format!("a{letter}").escape_debug().count() == 2
}
