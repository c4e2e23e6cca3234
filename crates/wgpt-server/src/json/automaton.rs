//! Which bytes may come next in a JSON object: RFC 8259 as an automaton that consumes one byte at a time.
//!
//! It is slightly stricter than the RFC, so that every text it accepts is finite and readable by every parser: the text
//! is one object and nothing else, objects nest at most [`DEPTH`] deep, white space between tokens is limited to what
//! indentation needs, numbers have up to 15 digits, 15 decimals and two digits of exponent, and surrogates are not
//! escaped.

/// Maximum nesting depth of objects and lists.
pub const DEPTH: u8 = 32;

/// Maximum number of digits of an integer or a fraction.
const DIGITS: u8 = 15;

const WORDS: [&[u8]; 3] = [b"true", b"false", b"null"];

/// The position in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Position {
    /// Before the object.
    #[default]
    Start,
    /// After `{`: a key or the end.
    FirstKey,
    /// After a comma in an object.
    Key,
    /// After a key.
    Colon,
    /// After a colon, or a comma in a list.
    Value,
    /// After `[`: a value or the end.
    FirstValue,
    /// After a value.
    After,
    /// In a string, which may be a key. Inside a multi-byte character, `more` bytes are missing, the next one in
    /// `low..=high`.
    Text { key: bool, more: u8, low: u8, high: u8 },
    /// After a backslash.
    Escape { key: bool },
    /// In `\u`, with `left` digits missing; `d` is set after a first digit `d`, which may begin a surrogate.
    Hex { key: bool, left: u8, d: bool },
    /// In one of [`WORDS`].
    Word { word: u8, done: u8 },
    /// In a number.
    Number(Part, u8),
    /// After the object.
    Done,
}

/// The position in a number; the count stored with it is the number of digits so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// The state after some bytes of a JSON object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Json {
    at: Position,
    /// The open containers, innermost in the lowest bit: 1 for an object.
    open: u32,
    depth: u8,
    /// Number of white-space characters since the last token.
    spaces: u8,
}

impl Json {
    /// Whether the object is complete.
    pub fn is_done(self) -> bool {
        self.at == Position::Done
    }

    /// Whether the text ends at a character boundary.
    pub fn is_between_characters(self) -> bool {
        !matches!(self.at, Position::Text { more: 1.., .. })
    }

    /// The smallest number of bytes that completes the object.
    pub fn distance(self) -> usize {
        let rest = match self.at {
            Position::Start => 2,
            Position::Done | Position::FirstKey | Position::FirstValue | Position::After => 0,
            Position::Key => 4,
            Position::Colon => 2,
            Position::Value => 1,
            Position::Text { key, more, .. } => usize::from(more) + 1 + if key { 2 } else { 0 },
            Position::Escape { key } => 2 + if key { 2 } else { 0 },
            Position::Hex { key, left, .. } => usize::from(left) + 1 + if key { 2 } else { 0 },
            Position::Word { word, done } => WORDS[usize::from(word)].len() - usize::from(done),
            Position::Number(Part::Minus | Part::Point | Part::E | Part::Sign, _) => 1,
            Position::Number(..) => 0,
        };
        rest + usize::from(self.depth)
    }

    /// The state after one more byte; [`None`] if the byte is not allowed here.
    pub fn step(self, byte: u8) -> Option<Self> {
        let to = |at| Some(Self { at, spaces: 0, ..self });
        match self.at {
            Position::Text { key, more, low, high } => to(text(byte, key, more, low, high)?),
            Position::Escape { key } => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => to(plain(key)),
                b'u' => to(Position::Hex { key, left: 4, d: false }),
                _ => None,
            },
            Position::Hex { key, left, d } => match (byte.is_ascii_hexdigit(), left) {
                (true, 4) => to(Position::Hex { key, left: 3, d: byte.eq_ignore_ascii_case(&b'd') }),
                (true, 3) if d && byte > b'7' => None,
                (true, 1) => to(plain(key)),
                (true, _) => to(Position::Hex { key, left: left - 1, d: false }),
                _ => None,
            },
            Position::Word { word, done } => {
                let letters = WORDS[usize::from(word)];
                match letters.get(usize::from(done)) {
                    Some(letter) if *letter == byte && usize::from(done) + 1 == letters.len() => to(Position::After),
                    Some(letter) if *letter == byte => to(Position::Word { word, done: done + 1 }),
                    _ => None,
                }
            }
            Position::Number(part, count) => match number(part, count, byte) {
                Some(at) => to(at),
                None if matches!(part, Part::Zero | Part::Integer | Part::Fraction | Part::Exponent) => {
                    Self { at: Position::After, spaces: 0, ..self }.step(byte)
                }
                None => None,
            },
            Position::Done => None,
            Position::Start => {
                if byte == b'{' {
                    self.opened(true)
                } else {
                    None
                }
            }
            _ if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {
                let room = self.spaces < 2 + 4 * self.depth;
                room.then_some(Self { spaces: self.spaces + 1, ..self })
            }
            Position::FirstKey => match byte {
                b'"' => to(plain(true)),
                b'}' => self.closed(true),
                _ => None,
            },
            Position::Key => {
                if byte == b'"' {
                    to(plain(true))
                } else {
                    None
                }
            }
            Position::Colon => {
                if byte == b':' {
                    to(Position::Value)
                } else {
                    None
                }
            }
            Position::FirstValue if byte == b']' => self.closed(false),
            Position::Value | Position::FirstValue => match byte {
                b'{' => self.opened(true),
                b'[' => self.opened(false),
                b'"' => to(plain(false)),
                b'-' => to(Position::Number(Part::Minus, 0)),
                b'0' => to(Position::Number(Part::Zero, 1)),
                b'1'..=b'9' => to(Position::Number(Part::Integer, 1)),
                _ => {
                    let word = WORDS.iter().position(|word| word[0] == byte)?;
                    to(Position::Word { word: word as u8, done: 1 })
                }
            },
            Position::After => match (byte, self.open & 1 == 1) {
                (b',', true) => to(Position::Key),
                (b',', false) => to(Position::Value),
                (b'}', true) => self.closed(true),
                (b']', false) => self.closed(false),
                _ => None,
            },
        }
    }

    fn opened(self, object: bool) -> Option<Self> {
        let at = if object { Position::FirstKey } else { Position::FirstValue };
        let open = self.open << 1 | u32::from(object);
        (self.depth < DEPTH).then_some(Self { at, open, depth: self.depth + 1, spaces: 0 })
    }

    fn closed(self, object: bool) -> Option<Self> {
        let at = if self.depth == 1 { Position::Done } else { Position::After };
        let fits = (self.open & 1 == 1) == object;
        fits.then_some(Self { at, open: self.open >> 1, depth: self.depth - 1, spaces: 0 })
    }
}

/// In a string, at a character boundary.
fn plain(key: bool) -> Position {
    Position::Text { key, more: 0, low: 0x80, high: 0xbf }
}

/// Consumes a byte of a string. UTF-8 by table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing
/// above U+10FFFF.
fn text(byte: u8, key: bool, more: u8, low: u8, high: u8) -> Option<Position> {
    if more > 0 {
        return (low..=high).contains(&byte).then_some(Position::Text { key, more: more - 1, low: 0x80, high: 0xbf });
    }
    let (more, low, high) = match byte {
        b'"' if key => return Some(Position::Colon),
        b'"' => return Some(Position::After),
        b'\\' => return Some(Position::Escape { key }),
        0x20..=0x7f => return Some(plain(key)),
        0xc2..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xe1..=0xef => (2, 0x80, 0xbf),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return None,
    };
    Some(Position::Text { key, more, low, high })
}

/// Consumes a byte that continues a number.
fn number(part: Part, count: u8, byte: u8) -> Option<Position> {
    let at = |part, count| Some(Position::Number(part, count));
    let room = count < DIGITS;
    match (part, byte) {
        (Part::Minus, b'0') => at(Part::Zero, 1),
        (Part::Minus, b'1'..=b'9') => at(Part::Integer, 1),
        (Part::Integer, b'0'..=b'9') if room => at(Part::Integer, count + 1),
        (Part::Zero | Part::Integer, b'.') => at(Part::Point, 0),
        (Part::Point, b'0'..=b'9') => at(Part::Fraction, 1),
        (Part::Fraction, b'0'..=b'9') if room => at(Part::Fraction, count + 1),
        (Part::Zero | Part::Integer | Part::Fraction, b'e' | b'E') => at(Part::E, 0),
        (Part::E, b'+' | b'-') => at(Part::Sign, 0),
        (Part::E | Part::Sign, b'0'..=b'9') => at(Part::Exponent, 1),
        (Part::Exponent, b'0'..=b'9') if count < 2 => at(Part::Exponent, 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpt::random;

    fn after(bytes: &[u8]) -> Option<Json> {
        bytes.iter().try_fold(Json::default(), |json, byte| json.step(*byte))
    }

    #[test]
    fn valid_objects_are_taken_whole() {
        for text in [
            "{}",
            r#"{"a":1}"#,
            "{\n  \"a\": [1, -2.5e-3, 0, true, false, null, \"x\"],\n  \"b\": {\"\u{e9}床🦀\": []}\n}",
            r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\uABCD"}"#,
            r#"{"":[[[{}]]],"b":[{"c":0.0e+12}]}"#,
        ] {
            assert!(after(text.as_bytes()).is_some_and(Json::is_done), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
            for end in 0..text.len() {
                assert!(after(&text.as_bytes()[..end]).is_some_and(|json| !json.is_done()), "{text} to {end}");
            }
        }
    }

    #[test]
    fn invalid_ones_are_not() {
        for text in [
            "[]",
            "1",
            " {}",
            "{} ",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":[1,]}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":1e}",
            "{\"a\":tru}",
            "{\"a\":nul}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":[}",
            "{'a':1}",
            "{\"a\":1}}",
            "{\"a\":1e999}",
            "{a:1}",
            "{\"a\" \"b\"}",
        ] {
            assert_eq!(after(text.as_bytes()), None, "{text}");
        }
        for broken in [&b"{\"\xff"[..], b"{\"\xc0\x80", b"{\"\xe0\x80", b"{\"\xed\xa0", b"{\"\xf4\x90", b"{\"\xc3\""] {
            assert_eq!(after(broken), None, "{broken:?}");
        }
        assert_eq!(after(&[b"{\"a\":".repeat(40), b"1".to_vec()].concat()), None, "too deep");
        assert_eq!(after(format!("{{{}", " ".repeat(20)).as_bytes()), None, "too much white space");
    }

    /// Bytes drawn from the allowed ones always form a prefix of valid JSON, and following the shortest distance always
    /// completes it.
    #[test]
    fn random_walks_end_in_valid_json() {
        for seed in 0..300u64 {
            let (mut json, mut bytes) = (Json::default(), Vec::new());
            let steps = 5 + seed % 200;
            for step in 0.. {
                let allowed: Vec<u8> = (0..=255).filter(|byte| json.step(*byte).is_some()).collect();
                assert_eq!(
                    allowed.is_empty(),
                    json.is_done(),
                    "a dead end after {:?}",
                    String::from_utf8_lossy(&bytes)
                );
                if json.is_done() {
                    break;
                }
                let byte = if step < steps {
                    allowed[random::below(seed, 7, step, allowed.len() as u64) as usize]
                } else {
                    let distance = |byte: &&u8| json.step(**byte).map_or(usize::MAX, Json::distance);
                    let nearest = allowed.iter().min_by_key(distance).expect("some byte");
                    assert_eq!(distance(&nearest) + 1, json.distance(), "after {:?}", String::from_utf8_lossy(&bytes));
                    *nearest
                };
                json = json.step(byte).expect("it was allowed");
                bytes.push(byte);
            }
            let value = serde_json::from_slice::<serde_json::Value>(&bytes);
            assert!(value.is_ok_and(|value| value.is_object()), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
