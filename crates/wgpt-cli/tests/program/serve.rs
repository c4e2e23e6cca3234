//! A server answers, streams, refuses invalid requests, and ends when asked to; scripts/check tests it with OpenAI's
//! client and with abuse.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{
    program::{Place, pretrain},
    server::Server,
};

#[test]
fn a_server_answers_until_it_is_told_to_end() {
    let place = Place::with_text("to be or not to be, that is the question\n".repeat(80));
    place.json(&pretrain("run", &["--steps", "20"]));
    let server = Server::start(&place, &["--model", "run"]);
    let (status, _, models) = server.ask("GET", "/v1/models", "", "");
    assert!(status == 200 && models.contains("\"id\":\"run\""), "{models}");

    let ask = json!({"prompt": "to be", "max_tokens": 6, "temperature": 0, "model": "run"});
    let (status, whole) = server.json("/v1/completions", &ask);
    let text = whole["choices"][0]["text"].as_str().expect("a text");
    assert_eq!((status, text.len(), &whole["choices"][0]["finish_reason"]), (200, 6, &json!("length")), "{whole}");
    assert_eq!(whole["usage"]["total_tokens"], json!(11));
    let streamed = json!({"prompt": "to be", "max_tokens": 6, "temperature": 0, "stream": true});
    let (status, head, body) = server.ask("POST", "/v1/completions", "", &streamed.to_string());
    assert!(status == 200 && head.contains("text/event-stream"), "{head}");
    let events: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
    let texts = chunks.map(|chunk| chunk["choices"][0]["text"].as_str().unwrap_or_default().to_string());
    assert_eq!((texts.collect::<String>().as_str(), events.last()), (text, Some(&"[DONE]")));

    let (status, refused) =
        server.json("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "to"}]}));
    assert!(status == 400 && refused["error"]["message"].as_str().is_some_and(|why| why.contains("no chat template")));
    let (status, refused) = server.json("/v1/completions", &json!({"prompt": "to", "temperature": "hot"}));
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("temperature")));
    assert_eq!(server.ask("GET", "/health", "Host: evil.example\r\n", "").0, 403);
    assert_eq!(server.ask("GET", "/health", "Origin: http://evil.example\r\n", "").0, 403);
    assert_eq!(server.ask("GET", "/wgpt/runs/..%2frun", "", "").0, 404);
    let (status, head, _) = server.ask("GET", "/", "", "");
    assert!(status == 200 && head.contains("content-security-policy: default-src 'self'"), "{head}");

    let rating = json!({"messages": [{"role": "user", "content": "Why?"}], "answers": [{"text": "So."}],
        "verdict": {"scores": [5]}, "rater": "anna"});
    assert_eq!(server.json("/wgpt/rate", &rating).1["stored"], json!(true));
    let runs: Value = serde_json::from_str(&server.ask("GET", "/wgpt/runs", "", "").2).expect("JSON");
    assert_eq!(
        (&runs[0]["name"], &runs[0]["step"], &runs[0]["steps"]),
        (&json!("run"), &json!(20), &json!(20)),
        "{runs}"
    );
    // A probe of HTTP/1.0 names no host.
    let mut probe = TcpStream::connect(&server.address).expect("it listens");
    probe.write_all(b"GET /health HTTP/1.0\r\n\r\n").expect("it reads");
    let mut health = String::new();
    probe.read_to_string(&mut health).expect("it answers in text");
    assert!(health.contains(" 200 ") && health.ends_with("}"), "{health}");
    // Some programs put a byte order mark before JSON, and a temperature may be too small for f32.
    let cold = json!({"prompt": "to be", "max_tokens": 1, "temperature": 1e-42, "model": "run"});
    let (status, _, body) = server.ask("POST", "/v1/completions", "", &format!("\u{feff}{cold}"));
    assert_eq!(status, 200, "{body}");
    let (_, _, metrics) = server.ask("GET", "/metrics", "", "");
    assert!(metrics.contains("wgpt_requests_total{route=\"/v1/completions\",status=\"200\"} 3"), "{metrics}");

    let (said, log) = server.stop();
    assert_eq!((&said["requests"], &said["generated_tokens"]), (&json!(14), &json!(13)), "{said}");
    let lines: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(
        lines.iter().any(|line| line["path"] == "/v1/completions" && line["tokens"] == json!([5, 0, 6])),
        "{log:?}"
    );
    let stats = place.json(&["feedback", "stats", "--json"]);
    assert_eq!((&stats["raters"]["anna"], &stats["kinds"]["score"]), (&json!(1), &json!(1)), "{stats}");
}

#[test]
fn what_would_let_strangers_in_is_refused() {
    let place = Place::with_text("");
    let error = place.failure(&["serve", "--model", "run", "--host", "0.0.0.0"]);
    assert!(error.contains("give --api-key-file (or WGPT_API_KEY), or --public"), "{error}");
    let error = place.failure(&["serve", "--model", "run", "--api-key", ""]);
    assert!(error.contains("--api-key is empty"), "{error}");
    let error = place.failure(&["serve", "--model", "run", "--api-key-file", "text.txt"]);
    assert!(error.contains("--api-key-file is empty"), "{error}");
    assert!(place.failure(&["serve", "--model", "run", "--host", "nowhere.invalid"]).contains("no such address"));
}

#[test]
fn limits_that_let_nothing_through_are_refused() {
    let place = Place::with_text("");
    for (option, least) in
        [("--sequences", 1), ("--queue", 1), ("--cache-tokens", 32), ("--max-body", 1), ("--connections", 1)]
    {
        let said = place.failure(&["serve", "--model", "run", option, "0"]);
        assert!(said.contains(&format!("{option} 0: give at least {least}")), "{said}");
    }
}
