//! What chat templates expect of Python and Jinja2 beyond what minijinja has.

mod methods;
mod show;

use std::borrow::Cow;

use chrono::format::{Item, StrftimeItems};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, Value, escape_formatter,
    value::{Kwargs, Rest, ValueKind},
};

use methods::{Side, padded};

/// Adds everything to `environment`.
pub(super) fn extend(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(methods::method);
    environment.set_formatter(print);
    environment.add_filter("tojson", show::to_json);
    environment.add_filter("string", string);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    // A part of a list is not a list to minijinja until it is needed.
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
        )
    });
    environment.add_test("callable", |value: &Value| matches!(value.kind(), ValueKind::Undefined | ValueKind::Plain));
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

fn wrong(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// A date in C's `strftime` format, or an error for an unknown directive. As in Python, where the time that `transformers` passes
/// has no zone, `%z` and `%Z` are empty, and `%f` is the microseconds.
fn date<Z: chrono::TimeZone>(format: &str, moment: chrono::DateTime<Z>) -> Result<String, Error>
where
    Z::Offset: std::fmt::Display,
{
    let pieces = format.split("%%").map(|piece| piece.replace("%f", "%6f").replace("%z", "").replace("%Z", ""));
    let own = pieces.collect::<Vec<_>>().join("%%");
    let items: Vec<_> = StrftimeItems::new(&own).collect();
    match items.contains(&Item::Error) {
        true => Err(wrong(format!("strftime does not know a directive of {format:?}"))),
        false => Ok(moment.format_with_items(items.iter()).to_string()),
    }
}

/// What `{{ value }}` writes.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match (state.auto_escape(), show::text(value)?) {
        (AutoEscape::None, Some(text)) => out.write_str(&text).map_err(Error::from),
        _ => escape_formatter(out, state, value),
    }
}

/// Python's `str(value)`.
fn string(value: &Value) -> Result<Value, Error> {
    Ok(match (value.as_str(), show::text(value)?) {
        (Some(_), _) => value.clone(),
        (None, Some(text)) => Value::from(text),
        (None, None) => Value::from(value.to_string()),
    })
}

/// Jinja2's `int(value, default=0, base=10)`: what is not an integer may still be a number.
fn int(value: &Value, default: Option<Value>, base: Option<u32>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or_else(|| Value::from(0));
    let base = base.or(kwargs.get("base")?).unwrap_or(10);
    kwargs.assert_all_used()?;
    if value.is_undefined() {
        return Err(wrong("an undefined value is not a number"));
    }
    let whole = match value.as_str() {
        Some(text) => integer(text, base).or_else(|| number(text).and_then(truncated)),
        None => i128::try_from(value.clone()).ok().or_else(|| f64::try_from(value.clone()).ok().and_then(truncated)),
    };
    Ok(whole.map_or(default, Value::from))
}

/// Jinja2's `float(value, default=0.0)`.
fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or_else(|| Value::from(0.0));
    kwargs.assert_all_used()?;
    if value.is_undefined() {
        return Err(wrong("an undefined value is not a number"));
    }
    let found = match value.as_str() {
        Some(text) => number(text),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(found.map_or(default, Value::from))
}

/// Towards zero; [`None`] for infinity and what is no number.
fn truncated(number: f64) -> Option<i128> {
    // Powers of two are exact.
    let largest = 2f64.powi(127);
    (number.abs() < largest).then_some(number as i128)
}

/// Python's `int(text, base)`.
fn integer(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let prefixed = |prefix: &str| digits.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let (base, digits) = match [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find(|(prefix, _)| prefixed(prefix)) {
        Some((_, own)) if base == own || base == 0 => (own, &digits[2..]),
        _ => (if base == 0 { 10 } else { base }, digits),
    };
    let digits = grouped(digits)?;
    let known = (2..=36).contains(&base) && digits.starts_with(|c: char| c.is_digit(base));
    let size = known.then(|| i128::from_str_radix(&digits, base).ok()).flatten()?;
    Some(if negative { -size } else { size })
}

/// Python's `float(text)`.
fn number(text: &str) -> Option<f64> {
    grouped(text.trim())?.parse().ok()
}

/// Digits without the underscores that may be between them.
fn grouped(digits: &str) -> Option<Cow<'_, str>> {
    match digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        true => None,
        false if digits.contains('_') => Some(Cow::Owned(digits.replace('_', ""))),
        false => Some(Cow::Borrowed(digits)),
    }
}

/// Jinja2's `default(value, default_value="", boolean=False)`.
fn default(value: &Value, other: Option<Value>, lax: Option<bool>, kwargs: Kwargs) -> Result<Value, Error> {
    let other = other.or(kwargs.get("default_value")?).unwrap_or_else(|| Value::from(""));
    let lax = lax.or(kwargs.get("boolean")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    Ok(if value.is_undefined() || (lax && !value.is_true()) { other } else { value.clone() })
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
            ("{{ [1] | tojson(indent=65) }}", "indent is longer"),
            ("{{ [1] | tojson(indent='x' * 65) }}", "indent is longer"),
            ("{{ undefined_name | tojson }}", "cannot be written as JSON"),
            ("{{ range | tojson }}", "cannot be written as JSON"),
            ("{{ 'x'.find(1) }}", "not for a number"),
            (
                "{% set ns = namespace(v=1) %}{% for i in range(600) %}{% set ns.v = [ns.v] %}{% endfor %}{{ ns.v }}",
                "deeper than 500",
            ),
            (
                "{% set ns = namespace(v=['x' * 60]) %}{% for i in range(40) %}{% set ns.v = [ns.v, ns.v] %}{% endfor %}{{ ns.v }}",
                "more than 4194304 bytes",
            ),
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
        assert_eq!(date("%f|%z%Z|%%f", moment).unwrap(), "000000||%f");
        assert!(date("%", moment).is_err());
    }
}
