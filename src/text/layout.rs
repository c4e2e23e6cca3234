//! What a data file holds, as its first bytes show.

use std::path::Path;

use serde::de::IgnoredAny;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A text.
    Text,
    /// A JSON value per line.
    Lines,
    /// JSON values that may extend over several lines, one after the other.
    Values,
    /// A JSON list.
    List,
    /// A Parquet table.
    Table,
}

impl Layout {
    /// What the numbers of records count.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Text | Self::Lines => "line",
            Self::Values => "record",
            Self::List => "element",
            Self::Table => "row",
        }
    }
}

/// What a file that begins with `head` holds; `cut` tells that it goes on after that.
pub(super) fn decide(head: &[u8], cut: bool, path: &Path) -> Layout {
    let start = head.trim_ascii_start();
    let found = match start.first() {
        Some(b'{') => objects(start, cut),
        Some(b'[') => is_list(start, cut).then_some(Layout::List),
        _ => None,
    };
    // Only where the content says nothing does the name.
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let named = name.ends_with(".jsonl") || name.ends_with(".ndjson");
    found.unwrap_or(if named { Layout::Lines } else { Layout::Text })
}

/// The beginning of a file as JSON.
enum First<'a> {
    /// A value, and what follows it.
    Whole(&'a [u8]),
    /// A value that is cut short.
    Cut,
    /// Not JSON.
    None,
}

fn first(bytes: &[u8]) -> First<'_> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => First::Whole(bytes.get(values.byte_offset()..).unwrap_or_default().trim_ascii_start()),
        Some(Err(error)) if error.is_eof() => First::Cut,
        _ => First::None,
    }
}

/// Whether an object begins here: what else has a brace is a text.
fn opens_object(bytes: &[u8]) -> bool {
    let inner = bytes.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    inner.is_some_and(|inner| inner.starts_with(b"\"") || inner.starts_with(b"}"))
}

/// How the objects of a file that begins with a brace are laid out; [`None`] if it is a text.
fn objects(start: &[u8], cut: bool) -> Option<Layout> {
    if !opens_object(start) {
        return None;
    }
    let mut lines = start.split(|&byte| byte == b'\n');
    let is_object = |line: &[u8]| matches!(first(line), First::Whole(rest) if rest.is_empty() && opens_object(line));
    match first(start) {
        First::Whole(_) if lines.clone().next().is_some_and(is_object) => Some(Layout::Lines),
        First::Whole(rest) if rest.is_empty() || opens_object(rest) => Some(Layout::Values),
        First::Cut if cut && start.contains(&b'\n') => Some(Layout::Values),
        First::Cut => Some(Layout::Lines),
        // The first line may be broken.
        _ if lines.any(is_object) => Some(Layout::Lines),
        _ => None,
    }
}

fn is_list(start: &[u8], cut: bool) -> bool {
    let inner = start.get(1..).unwrap_or_default().trim_ascii_start();
    if opens_object(inner) {
        return true;
    }
    if let Some(rest) = inner.strip_prefix(b"]") {
        return rest.trim_ascii().is_empty();
    }
    match first(inner) {
        First::Whole(rest) if rest.strip_prefix(b",").is_some_and(opens_object) => true,
        First::Whole(rest) if rest.starts_with(b",") || rest.starts_with(b"]") => {
            cut || serde_json::from_slice::<IgnoredAny>(start).is_ok()
        }
        First::Cut => cut,
        _ => false,
    }
}
