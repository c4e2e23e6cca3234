//! Chat templates give the text that Jinja2 gives as `transformers` sets it up. The fixture is made by
//! scripts/fixtures/make_template_fixtures.py.

use serde_json::Value;
use wgpt::text::{ChatTemplate, SpecialTokens};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-tests/fixtures/templates.json");

/// Python's own errors. Where a template runs into one by accident (it compares a text with a number), minijinja may go on.
const ACCIDENTS: &[&str] = &["TypeError", "UndefinedError"];

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// What is different for one template and the conversations.
fn differences(case: &Value, conversations: &[Value]) -> Vec<String> {
    let template = ChatTemplate::new(text(&case["template"]), SpecialTokens::default());
    let counts = ["results", "errors"].map(|part| array(&case[part]).len());
    // Constructs are rendered with the first conversation only.
    assert!(counts == [1; 2] || counts == [conversations.len(); 2], "{}: {counts:?}", case["name"]);
    let results = array(&case["results"]).iter().zip(array(&case["errors"]));
    let cases = results.zip(conversations);
    let compare = |((expected, error), conversation): ((&Value, &Value), &Value)| {
        let variables = text(&conversation["variables"]);
        let parsed = template.as_ref().map_err(ToString::to_string);
        let found = parsed.and_then(|template| template.render_variables(variables).map_err(|error| error.to_string()));
        let difference = match (found, expected.as_str()) {
            (Ok(found), Some(expected)) if found == expected => return None,
            (Err(_), None) => return None,
            (Ok(_), None) if ACCIDENTS.iter().any(|accident| text(error).starts_with(accident)) => return None,
            (found, _) => format!("{found:?}\ninstead of {expected:?} {error}"),
        };
        Some(format!("{} {:?}, {}: {difference}", case["name"], case["template"].as_str(), conversation["name"]))
    };
    cases.filter_map(compare).collect()
}

#[test]
fn templates_give_what_jinja2_gives() {
    // Templates that may not be published can be compared on one's own machine.
    let path = std::env::var("WGPT_TEMPLATES").unwrap_or_else(|_| FIXTURE.to_string());
    let data = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let data: Value = serde_json::from_str(&data).expect("JSON");
    let cases = array(&data["templates"]).iter().chain(array(&data["constructs"]));
    assert!(array(&data["templates"]).len() > 20 && array(&data["conversations"]).len() > 10);
    let found: Vec<_> = cases.flat_map(|case| differences(case, array(&data["conversations"]))).collect();
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

#[test]
fn variables_are_one_object() {
    let template =
        ChatTemplate::new("{{ bos_token }}{{ a | tojson }}", SpecialTokens { bos: "<s>".into(), ..Default::default() });
    let render =
        |variables: &str| template.as_ref().expect("a template").render_variables(variables).map_err(|e| e.to_string());
    assert_eq!(render(r#"{"a": {"z": 1, "b": [1e-5, 2]}}"#).as_deref(), Ok(r#"<s>{"z": 1, "b": [1e-05, 2]}"#));
    assert_eq!(render(r#"{"a": 1, "bos_token": "!"}"#).as_deref(), Ok("!1"));
    for (wrong, words) in [("[1]", "not a JSON object"), ("{", "not JSON"), ("", "not JSON")] {
        let error = render(wrong).expect_err("refused");
        assert!(error.contains(words), "{error}");
    }
}
