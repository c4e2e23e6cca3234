//! The page: the files of `web/`, embedded in the program.

use axum::{
    body::Body,
    extract::{Path, rejection::PathRejection},
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

use super::problem::Problem;

/// Nothing is loaded from another host, and no script inserted into a text can run.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; \
                      connect-src 'self'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_bytes!(concat!("../web/", $name)) as &[u8])),*] };
}

/// Names and contents of all files in `web/`.
pub const FILES: &[(&str, &[u8])] = files![
    "answer.js",
    "api.js",
    "app.js",
    "attention.js",
    "chart.js",
    "chat.css",
    "chat.js",
    "compare.js",
    "composer.js",
    "conversation.js",
    "dialog.js",
    "distribution.js",
    "dom.js",
    "early.js",
    "feedback.js",
    "figures.css",
    "history.js",
    "icon.svg",
    "icons.js",
    "index.html",
    "inline.js",
    "inside.css",
    "inside.js",
    "keys.js",
    "looks.js",
    "markdown.js",
    "notice.js",
    "prose.css",
    "rail.js",
    "rate.js",
    "reshape.js",
    "runs.js",
    "scale.js",
    "settings.js",
    "store.js",
    "stream.js",
    "style.css",
    "theme.js",
    "tokens.js",
    "training.js",
    "words-en.js",
    "words-zh.js",
    "words.js",
];

/// The content type of a file.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "webmanifest" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

fn respond(name: &str) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let (_, content) = found.ok_or_else(|| Problem::missing("the page has no such file"))?;
    let mut response = Response::new(Body::from(*content));
    for (key, value) in [
        (header::CONTENT_TYPE, kind(name)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(key, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// `/`
///
/// # Errors
/// None.
pub async fn index() -> Result<Response, Problem> {
    respond("index.html")
}

/// `/web/NAME`: serves only the embedded files, never the disk.
///
/// # Errors
/// 404.
pub async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| Problem::missing("the page has no such file"))?;
    respond(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_table() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut found: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            // web/tab is a separate page that needs no server.
            if entry.path().is_file() {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found.sort();
        let mut known: Vec<_> = FILES.iter().map(|(name, _)| name.to_string()).collect();
        known.sort();
        assert_eq!(known, found);
        assert!(known.iter().all(|name| kind(name) != "application/octet-stream"), "{known:?}");
    }

    #[test]
    fn nothing_else_is() {
        for name in ["../Cargo.toml", "..", "", "index.html/..", "INDEX.HTML", "index.html\0"] {
            assert!(respond(name).is_err(), "{name}");
        }
        let response = respond("index.html").unwrap();
        assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
    }
}
