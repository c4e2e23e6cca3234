//! Ratings: several writers at once, broken data, export and import, and a rater at the keyboard.

use std::{fmt::Write as _, io::Write as _};

use serde_json::{Value, json};

use crate::program::{Place, english, pretrain};

/// The program's output for a rater who types `typed`; the last line of stdout is JSON.
fn rate(place: &Place, arguments: &[&str], typed: &str) -> Value {
    let mut child = place.talk(&[arguments, &["--json"]].concat());
    // A program with nothing to ask may end before it reads anything.
    let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    serde_json::from_str(stdout.lines().last().unwrap_or_default()).expect("the last line is JSON")
}

fn lines(place: &Place, name: &str) -> Vec<String> {
    let mut lines: Vec<_> =
        std::fs::read_to_string(place.path(name)).expect("it was written").lines().map(str::to_string).collect();
    lines.sort();
    lines
}

/// Two raters at their terminals and two imports, all at the same time, with a database that does not exist yet.
#[test]
fn writers_at_once_lose_nothing() {
    const EACH: usize = 150;
    let place = Place::with_text("");
    let (mut tasks, mut pairs) = (String::new(), String::new());
    for i in 0..EACH {
        writeln!(tasks, "{}", json!({ "prompt": format!("Why {i}?"), "answers": ["So.", "No.", "Ask."] })).unwrap();
        writeln!(pairs, "{}", json!({ "prompt": format!("Why {i}?"), "chosen": "So.", "rejected": "No." })).unwrap();
    }
    std::fs::write(place.path("tasks.jsonl"), tasks).unwrap();
    std::fs::write(place.path("pairs.jsonl"), pairs).unwrap();
    let raters = ["anna", "ben"].map(|name| {
        let mut child = place.talk(&["rate", "--prompts", "tasks.jsonl", "--rater", name, "--quiet"]);
        let typed = "a>b=c\n".repeat(EACH);
        child.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("it listens");
        // Reads the output in a thread, so that a full pipe does not block the program.
        std::thread::spawn(move || child.wait_with_output().expect("it ends"))
    });
    let imports = ["carl", "dora"]
        .map(|name| place.talk(&["feedback", "import", "pairs.jsonl", "--rater", name, "--quiet"]))
        .map(|child| std::thread::spawn(move || child.wait_with_output().expect("it ends")));
    for thread in raters.into_iter().chain(imports) {
        let output = thread.join().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let stats = place.json(&["feedback", "stats", "--json"]);
    let each = EACH as u64;
    assert_eq!(stats["raters"], json!({ "anna": each, "ben": each, "carl": each, "dora": each }));
    // Anna and Ben see the same order and type the same: six comparisons of four raters on "So." and "No.", and more.
    assert_eq!(stats["agreement"]["shared_pairs"], 3 * each);
    assert!(stats["agreement"]["equal"].as_u64() >= Some(4 * each), "{stats}");
    let done = place.json(&["feedback", "export", "--format", "pairs", "--out", "out.jsonl", "--json"]);
    assert_eq!((&done["written"], &done["left_out"][0]["count"]), (&json!(6 * each), &json!(2 * each)), "{done}");
}

#[test]
fn broken_data_is_counted_and_explained() {
    let place = Place::with_text("");
    let mut file = Vec::new();
    for line in [
        r#"{"prompt": "Why?", "chosen": "So.", "rejected": "No."}"#,
        r#"{"prompt": "Why?", "chosen": "So.", "rejected": "So."}"#,
        r#"{"prompt": [{"role": "robot", "content": "Why?"}], "chosen": "So.", "rejected": "No."}"#,
        r#"{"prompt": "Why?", "chosen": "So.", "rejected": ""}"#,
        r#"{"prompt": "Why?", "answer": "So.", "score": NaN}"#,
        r#"{"prompt": "Why?", "answer": "So.", "score": 1e999}"#,
        r#"{"prompt": "Why?", "answer": "So.", "score": null}"#,
        r#"{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes?", "rejected": "\n\nHuman: Ho\n\nAssistant: No."}"#,
        r#"{"prompt": "Why?", "chosen": "So.", "rejected": "No."}"#,
        r#"{"prompt": "Why?", "chosen": "So.", "rejec"#,
    ] {
        file.extend_from_slice(line.as_bytes());
        file.push(b'\n');
    }
    file.extend_from_slice(b"\xff\xfe\n");
    std::fs::write(place.path("bad.jsonl"), file).unwrap();
    let done = place.json(&["feedback", "import", "bad.jsonl", "--json"]);
    assert_eq!((&done["added"], &done["duplicates"], &done["mistakes"]), (&json!(1), &json!(1), &json!(9)), "{done}");
    let mistakes = done["files"][0]["mistakes"].as_array().expect("a list");
    let of = |reason: &str| {
        let found = mistakes.iter().find(|mistake| mistake["reason"].as_str().is_some_and(|r| r.contains(reason)));
        found.map(|mistake| (mistake["count"].as_u64(), mistake["first"].as_u64()))
    };
    for (reason, count, first) in [
        ("equal answers", 1, 2),
        ("unknown role", 1, 3),
        ("empty answer", 1, 4),
        ("not a JSON object", 3, 5),
        ("not a finite number", 2, 6),
        ("no common prompt", 1, 8),
    ] {
        assert_eq!(of(reason), Some((Some(count), Some(first))), "{reason}: {done}");
    }
    let told = place.run(&["feedback", "import", "bad.jsonl"]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("0 new ratings, 2 known, 9 mistakes") && told.contains("line 3: \"robot\""), "{told}");

    for (arguments, words) in [
        (&["feedback", "stats", "--feedback", "none.sqlite"][..], "no such file"),
        (&["feedback", "stats", "--feedback", "bad.jsonl"], "not a SQLite database"),
        (&["feedback", "import", "none.jsonl"], "none.jsonl"),
        (&["rate", "--prompts", "none.jsonl"], "none.jsonl"),
        (&["rate", "--prompts", "bad.jsonl"], "give --model"),
    ] {
        let message = place.failure(arguments);
        assert!(message.contains(words), "wgpt {arguments:?} says {message:?}, without {words:?}");
    }
}

#[test]
fn exports_are_imported_as_they_were() {
    let place = Place::with_text("");
    let talk = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "床前？"}]);
    let given = [
        json!({"prompt": "Why?\n", "chosen": " So.", "rejected": "No.", "rater": "anna", "time": 1_700_000_000_000_u64}),
        json!({"prompt": talk, "chosen": "明月", "rejected": "No \u{1f600}\u{0}."}),
        json!({"prompt": "Why?\n", "answer": "So.", "score": -0.1, "model": "small"}),
        json!({"prompt": talk, "answers": ["a", "b", "c"], "best": 2}),
    ];
    let text: String = given.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(place.path("given.jsonl"), text).unwrap();
    place.json(&["feedback", "import", "given.jsonl", "--json"]);
    for (format, count) in [("pairs", 4), ("scores", 1), ("best-of", 3), ("hh-rlhf", 4), ("ratings", 4)] {
        let (first, second, other) = (format!("{format}.1"), format!("{format}.2"), format!("{format}.sqlite"));
        let done = place.json(&["feedback", "export", "--format", format, "--out", &first, "--json"]);
        assert_eq!(done["written"], count, "{format}: {done}");
        let done = place.json(&["feedback", "import", &first, "--feedback", &other, "--json"]);
        assert_eq!((&done["added"], &done["mistakes"]), (&json!(count), &json!(0)), "{format}: {done}");
        place.json(&["feedback", "export", "--format", format, "--out", &second, "--feedback", &other, "--json"]);
        assert_eq!(lines(&place, &first), lines(&place, &second), "{format}");
    }
    let back = place.json(&["feedback", "import", "ratings.1", "--json"]);
    assert_eq!((&back["added"], &back["duplicates"]), (&json!(0), &json!(4)), "whole ratings are known again");
}

#[test]
fn a_rater_compares_what_a_tiny_model_says() {
    let place = Place::with_text(english());
    place.json(&pretrain("run", &["--steps", "2"]));
    std::fs::write(place.path("prompts.txt"), "Line 1\nthe wind\nof the\n").unwrap();
    let arguments = ["rate", "--model", "run", "--prompts", "prompts.txt", "--answers", "4", "--max-tokens", "6"];
    let arguments = [&arguments[..], &["--rater", "anna", "--temperature", "1.5", "--seed", "7"]].concat();
    // A mistake is reported and the question repeated; the third prompt is not reached.
    let done = rate(&place, &arguments, "x\nb>a=c>d\na 4 c 1\nq\n");
    assert_eq!((&done["rated"], &done["left"]), (&json!({ "ranking": 1, "score": 1 }), &json!(1)), "{done}");
    let listed = place.json(&["feedback", "list", "--rater", "anna", "--json"]);
    let first = &listed["ratings"][0];
    let (answers, values) = (first["answers"].as_array().expect("a list"), [2.0, 1.0, 2.0, 4.0]);
    assert!(answers.iter().zip(values).all(|(answer, value)| answer["value"] == value), "{listed}");
    assert_eq!(
        (&first["rater"], &first["kind"], &first["prompt"]),
        (&json!("anna"), &json!("ranking"), &json!("Line 1"))
    );
    assert!(first["time"].as_u64() > Some(1_700_000_000_000), "{first}");
    for answer in answers {
        assert!(answer["model"].as_str().is_some_and(|name| name.contains("checkpoint-")), "{answer}");
        assert_eq!(answer["sampling"]["temperature"], 1.5, "{answer}");
        assert!(answer["sampling"]["seed"].is_u64(), "{answer}");
    }

    // Existing answers need no model, are shown once per rater, and equal ones are shown once.
    let tasks = "{\"prompt\": \"Why?\", \"answers\": [\"So.\", \"No.\", \"So.\"]}\n{\"prompt\": \"Why?\", \"answers\": [\"\"]}\n";
    std::fs::write(place.path("tasks.jsonl"), tasks).unwrap();
    let arguments = ["rate", "--prompts", "tasks.jsonl", "--rater", "anna"];
    let done = rate(&place, &arguments, "a\n");
    assert_eq!((&done["rated"], &done["mistakes"][0]["reason"]), (&json!({ "best": 1 }), &json!("empty answer")));
    assert_eq!(rate(&place, &arguments, "s\n")["rated_before"], 1);
    assert_eq!(rate(&place, &[&arguments[..], &["--again"]].concat(), "s\n")["rated"], json!({ "skip": 1 }));
}
