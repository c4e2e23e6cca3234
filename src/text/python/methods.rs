//! Methods of texts, lists and objects that chat templates call.

use std::collections::BTreeSet;

use minijinja::{
    Error, State, Value,
    value::{Kwargs, Tuple, ValueKind, from_args},
};

use super::wrong;

/// The largest width that a template may pad a text to, or precision of a number: a width costs no fuel.
const WIDEST: usize = 10_000;

/// Methods of values that minijinja leaves to its users.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        // Methods look at the whole text and at what they are given, however little they give.
        let lengths = args.iter().map(|arg| arg.as_str().map_or(0, str::len)).sum::<usize>() + text.len();
        state.consume_fuel(1 + lengths as u64 / 64)?;
        if name == "format" {
            check_widths(text)?;
        }
        if let Some(result) = text_method(state, text, name, args) {
            return result;
        }
    }
    let list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
    if list {
        state.consume_fuel(value.len().unwrap_or_default() as u64)?;
    }
    match name {
        "index" if list => {
            let (wanted,): (&Value,) = from_args(args)?;
            for (index, item) in value.try_iter()?.enumerate() {
                if equal(state, &item, wanted)? {
                    return Ok(Value::from(index));
                }
            }
            Err(wrong("the value is not in the list"))
        }
        "count" if list => {
            let (wanted,): (&Value,) = from_args(args)?;
            let mut count = 0;
            for item in value.try_iter()? {
                count += usize::from(equal(state, &item, wanted)?);
            }
            Ok(Value::from(count))
        }
        // A template cannot change a value, so it is its own copy.
        "copy" if list || value.kind() == ValueKind::Map => from_args::<()>(args).map(|()| value.clone()),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// Whether two values are equal; every pair of values inside them costs fuel, for lists can hold the same list many times.
fn equal(state: &mut State<'_, '_>, a: &Value, b: &Value) -> Result<bool, Error> {
    state.consume_fuel(1)?;
    let lists = [a, b].map(|value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable));
    if lists != [true, true] {
        // An object in a template is small, or one of the conversation's.
        return Ok(a == b);
    }
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.try_iter()?.zip(b.try_iter()?) {
        if !equal(state, &a, &b)? {
            return Ok(false);
        }
    }
    Ok(true)
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

/// Methods of texts that `pycompat` lacks or has with fewer arguments; [`None`] for others.
fn text_method(state: &mut State<'_, '_>, text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let one = || from_args::<(&str,)>(args).map(|(argument,)| argument);
    let pad = |side: Side| {
        let (width, fill): (usize, Option<char>) = from_args(args)?;
        padded(text, width, fill.unwrap_or(' '), side).map(Value::from)
    };
    let three = |before: &str, separator: &str, after: &str| {
        Value::from(Tuple::from([before, separator, after].map(Value::from)))
    };
    Some(match name {
        "find" | "rfind" | "index" | "rindex" | "count" | "startswith" | "endswith" => search(state, text, name, args),
        "strip" | "lstrip" | "rstrip" => strip(text, name, args),
        "removeprefix" => one().map(|prefix| Value::from(text.strip_prefix(prefix).unwrap_or(text))),
        "removesuffix" => one().map(|suffix| Value::from(text.strip_suffix(suffix).unwrap_or(text))),
        "partition" => one().map(|separator| match text.split_once(separator) {
            Some((before, after)) => three(before, separator, after),
            None => three(text, "", ""),
        }),
        "rpartition" => one().map(|separator| match text.rsplit_once(separator) {
            Some((before, after)) => three(before, separator, after),
            None => three("", "", text),
        }),
        "split" => split(text, args, Side::Left),
        "rsplit" => split(text, args, Side::Right),
        "splitlines" => split_lines(text, args),
        "title" => from_args::<()>(args).map(|()| Value::from(title(text))),
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

/// The methods that look for a part of a text: `text.find(part, start, end)` and its like.
fn search(state: &mut State<'_, '_>, text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (part, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let within = window(text, start, end);
    let not_text = || wrong(format!("{name} looks for a text, not for a {}", part.kind()));
    if let "startswith" | "endswith" = name {
        let parts = match part.kind() {
            ValueKind::Seq | ValueKind::Iterable => part.try_iter()?.collect(),
            _ => vec![part.clone()],
        };
        for part in parts {
            let part = part.as_str().ok_or_else(not_text)?;
            state.consume_fuel(1 + part.len() as u64 / 64)?;
            let fits = |(_, rest): (usize, &str)| match name {
                "startswith" => rest.starts_with(part),
                _ => rest.ends_with(part),
            };
            if within.is_some_and(fits) {
                return Ok(Value::from(true));
            }
        }
        return Ok(Value::from(false));
    }
    let part = part.as_str().ok_or_else(not_text)?;
    if name == "count" {
        return Ok(Value::from(within.map_or(0, |(_, rest)| rest.matches(part).count())));
    }
    let at = within.and_then(|(before, rest)| {
        let at = if name.starts_with('r') { rest.rfind(part) } else { rest.find(part) };
        at.map(|at| before + rest[..at].chars().count())
    });
    match at {
        Some(at) => Ok(Value::from(at)),
        None if name.ends_with("find") => Ok(Value::from(-1)),
        None => Err(wrong("substring not found")),
    }
}

/// `text[start:end]` and the number of characters before it; [`None`] where Python finds not even the empty text.
fn window(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    if start.is_none() && end.is_none() {
        return Some((0, text));
    }
    let length = text.chars().count();
    let place = |at: i64| {
        let size = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
        if at < 0 { length.saturating_sub(size) } else { size }
    };
    let (start, end) = (start.map_or(0, place), end.map_or(length, place).min(length));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    (start <= end).then(|| (start, &text[byte(start)..byte(end)]))
}

/// White space for Python, which counts the separators of ASCII as such.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

fn strip(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (letters,): (Option<&Value>,) = from_args(args)?;
    let letters: Option<BTreeSet<char>> = match letters.filter(|letters| !letters.is_none()) {
        Some(letters) => {
            let letters = letters.as_str().ok_or_else(|| wrong(format!("{name} removes the letters of a text")))?;
            Some(letters.chars().collect())
        }
        None => None,
    };
    let removed = |letter: char| letters.as_ref().map_or_else(|| is_space(letter), |letters| letters.contains(&letter));
    Ok(Value::from(match name {
        "lstrip" => text.trim_start_matches(removed),
        "rstrip" => text.trim_end_matches(removed),
        _ => text.trim_matches(removed),
    }))
}

/// Words begin with an upper-case letter; a word is what is between letters without a case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for letter in text.chars() {
        if within {
            out.extend(letter.to_lowercase());
        } else {
            let mut upper = letter.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
        within = letter.is_lowercase() || letter.is_uppercase();
    }
    out
}

fn swapped(text: &str) -> String {
    let swap =
        |c: char| -> String { if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() } };
    text.chars().map(swap).collect()
}

/// `str.splitlines(keepends)`.
fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
    let keep = keep.or(kwargs.get("keepends")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let (mut rest, mut lines) = (text, Vec::new());
    while !rest.is_empty() {
        let line = rest.find(ends).unwrap_or(rest.len());
        let end = match rest[line..].starts_with("\r\n") {
            true => line + 2,
            false => line + rest[line..].chars().next().map_or(0, char::len_utf8),
        };
        lines.push(Value::from(&rest[..if keep { end } else { line }]));
        rest = &rest[end..];
    }
    Ok(Value::from(lines))
}

/// `str.split(separator, most)`, or `str.rsplit` from the right; without a separator at runs of white space.
fn split(text: &str, args: &[Value], from: Side) -> Result<Value, Error> {
    let (separator, most, kwargs): (Option<&Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.cloned().or(kwargs.get::<Option<Value>>("sep")?).filter(|value| !value.is_none());
    let most = most.or(kwargs.get("maxsplit")?).unwrap_or(-1);
    kwargs.assert_all_used()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let right = matches!(from, Side::Right);
    let mut parts: Vec<&str> = match separator {
        Some(separator) => match separator.as_str().ok_or_else(|| wrong("the separator is not a text"))? {
            "" => return Err(wrong("the separator is empty")),
            separator if right => text.rsplitn(most.saturating_add(1), separator).collect(),
            separator => text.splitn(most.saturating_add(1), separator).collect(),
        },
        None => at_spaces(text, most, right),
    };
    if right {
        parts.reverse();
    }
    Ok(Value::from(parts.into_iter().map(Value::from).collect::<Vec<_>>()))
}

/// The words of a text, from the left or from the right; after `most` of them comes all the rest.
fn at_spaces(text: &str, most: usize, right: bool) -> Vec<&str> {
    let trim = |text: &'_ str| -> usize {
        if right { text.trim_end_matches(is_space).len() } else { text.len() - text.trim_start_matches(is_space).len() }
    };
    let (mut rest, mut parts) = (text, Vec::new());
    loop {
        let cut = trim(rest);
        rest = if right { &rest[..cut] } else { &rest[cut..] };
        if rest.is_empty() {
            return parts;
        }
        let space = if right { rest.rfind(is_space) } else { rest.find(is_space) };
        match space.filter(|_| parts.len() < most) {
            None => {
                parts.push(rest);
                return parts;
            }
            Some(at) if right => {
                let after = at + rest[at..].chars().next().map_or(1, char::len_utf8);
                parts.push(&rest[after..]);
                rest = &rest[..after];
            }
            Some(at) => {
                parts.push(&rest[..at]);
                rest = &rest[at..];
            }
        }
    }
}

/// Where padding goes.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
    Both,
}

pub(super) fn padded(text: &str, width: usize, fill: char, side: Side) -> Result<String, Error> {
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
