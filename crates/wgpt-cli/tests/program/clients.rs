//! What well-known clients of OpenAI's API send is answered in the form that they read, or refused with the name of the
//! field that is not supported. `scripts/fixtures/record_clients.py` records the requests.

use serde_json::{Value, json};

use crate::{program::Place, server::Server};

/// A recorded request per line.
const REQUESTS: &str = include_str!("../clients.jsonl");

/// What clients do that wgpt does not: the status, and the field that the refusal names.
const REFUSED: [(&str, u16, Option<&str>); 9] = [
    ("tools", 400, Some("tools")),
    ("tool result", 400, Some("messages")),
    ("image", 400, Some("messages")),
    ("schema", 400, Some("response_format")),
    ("effort", 400, Some("reasoning_effort")),
    ("verbosity", 400, Some("verbosity")),
    ("speech", 400, Some("modalities")),
    ("responses", 404, None),
    // The model that ships with wgpt has a context of 96 tokens, Open WebUI asks for titles in six hundred.
    ("chat longer than the context", 400, None),
];

/// Fails with what the client did and what it got, unless `fine`.
#[track_caller]
fn expect(fine: bool, what: &str, line: &Value, got: &Value) {
    assert!(fine, "{what}: {} sent {line}\nand got {got}", line["client"]);
}

/// The fields around choices, and the number and the reasons of the choices.
fn envelope(line: &Value, got: &Value) {
    let model = got["model"] == "talker" && got["id"].is_string() && got["created"].is_u64();
    expect(model && got["object"].is_string(), "the answer is described", line, got);
    let usage = &got["usage"];
    let sum = usage["prompt_tokens"].as_u64().zip(usage["completion_tokens"].as_u64()).map(|(one, other)| one + other);
    expect(sum.is_some() && sum == usage["total_tokens"].as_u64(), "tokens are counted", line, got);
}

fn ends(choice: &Value) -> bool {
    choice["finish_reason"] == "stop" || choice["finish_reason"] == "length"
}

/// An answer to a chat or a continued text, sent at once.
fn whole(line: &Value, got: &Value) {
    envelope(line, got);
    let asked = &line["body"];
    let choices = got["choices"].as_array().map_or(&[][..], Vec::as_slice);
    expect(choices.len() as u64 == asked["n"].as_u64().unwrap_or(1), "choices", line, got);
    for (index, choice) in choices.iter().enumerate() {
        expect(choice["index"] == index && ends(choice), "a choice ends", line, got);
        if asked.get("prompt").is_some() {
            expect(choice["text"].is_string(), "a text", line, got);
            continue;
        }
        let message = &choice["message"];
        let text = message["content"].as_str().unwrap_or_default();
        expect(message["role"] == "assistant" && message["content"].is_string(), "a message", line, got);
        if asked["logprobs"] == true {
            let tokens = choice["logprobs"]["content"].as_array().map_or(0, Vec::len);
            expect(tokens > 0 || text.is_empty(), "tokens with their log-probabilities", line, got);
        }
        if asked["response_format"]["type"] == "json_object" {
            let object = serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
            expect(object, "JSON mode", line, got);
        }
    }
}

/// The events of a stream.
fn streamed(line: &Value, head: &str, body: &str) {
    let asked = &line["body"];
    let events: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let got = json!(events);
    expect(head.contains("content-type: text/event-stream"), "events", line, &json!(head));
    expect(events.last() == Some(&"[DONE]"), "the end of a stream", line, &got);
    let chunks: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
    expect(chunks.len() + 1 == events.len(), "events are JSON", line, &got);
    let usage = asked["stream_options"]["include_usage"] == true;
    let (counted, chunks): (Vec<_>, Vec<_>) = chunks.iter().partition(|chunk| chunk["usage"].is_object());
    expect(counted.len() == usize::from(usage), "tokens are counted where that is asked for", line, &got);
    counted.iter().for_each(|chunk| envelope(line, chunk));
    let last = chunks.last().map(|chunk| &chunk["choices"][0]);
    expect(last.is_some_and(ends), "a choice ends", line, &got);
    if asked.get("prompt").is_some() {
        expect(chunks.iter().all(|chunk| chunk["choices"][0]["text"].is_string()), "pieces of text", line, &got);
    } else {
        expect(chunks[0]["choices"][0]["delta"]["role"] == "assistant", "who speaks comes first", line, &got);
        expect(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"), "pieces of a chat", line, &got);
    }
}

fn embeddings(line: &Value, got: &Value) {
    let asked = &line["body"];
    let data = got["data"].as_array().map_or(&[][..], Vec::as_slice);
    expect(data.len() == asked["input"].as_array().map_or(1, Vec::len), "an embedding for each text", line, got);
    let packed = asked["encoding_format"] == "base64";
    let fine = |one: &Value| if packed { one["embedding"].is_string() } else { one["embedding"][0].is_f64() };
    expect(data.iter().all(fine) && got["usage"]["total_tokens"].is_u64(), "embeddings", line, got);
}

#[test]
fn what_clients_send_is_answered_or_refused_by_name() {
    let place = Place::with_text("");
    let server = Server::start(&place, &["--allow-host", "gpt.example"]);
    for line in REQUESTS.lines() {
        let line: Value = serde_json::from_str(line).expect("a recorded request");
        let text = |name: &str| line[name].as_str().expect("a text");
        let headers: String = line["headers"]
            .as_object()
            .expect("headers")
            .iter()
            .map(|(name, value)| {
                format!("{}: {}\r\n", if name == "host" { "Host" } else { name }, value.as_str().expect("a text"))
            })
            .collect();
        let asked = line.get("body").map(Value::to_string).unwrap_or_default();
        let (status, head, body) = server.ask(text("method"), text("path"), &headers, &asked);
        let got: Value = serde_json::from_str(&body).unwrap_or_else(|_| json!(body));
        if let Some((_, expected, field)) = REFUSED.iter().find(|(does, ..)| *does == text("does")) {
            let error = &got["error"];
            expect(status == *expected && error["param"] == json!(field), "a refusal", &line, &got);
            expect(error["message"].as_str().is_some_and(|message| !message.is_empty()), "the reason", &line, &got);
            continue;
        }
        expect(status == 200, "an answer", &line, &got);
        match text("path") {
            "/v1/models" => expect(got["data"][0]["id"] == "talker" && got["object"] == "list", "models", &line, &got),
            "/v1/models/talker" => expect(got["id"] == "talker" && got["object"] == "model", "a model", &line, &got),
            "/v1/embeddings" => embeddings(&line, &got),
            _ if line["body"]["stream"] == true => streamed(&line, &head, &body),
            _ => whole(&line, &got),
        }
    }
    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "temprature": 0.5});
    let completion = json!({"prompt": "Hi", "temprature": 0.5});
    let embedding = json!({"input": "Hi", "temprature": 0.5});
    for (path, body) in [("chat/completions", chat), ("completions", completion), ("embeddings", embedding)] {
        let (status, got) = server.json(&format!("/v1/{path}"), &body);
        assert_eq!((status, &got["error"]["param"]), (400, &json!("temprature")), "what is misspelt: {got}");
    }
    server.stop();
}
