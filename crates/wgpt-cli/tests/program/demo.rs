//! The whole demo, as small as possible: the order of the stages, the report, and resuming after the end.

use std::io::Write;

use serde_json::Value;

use crate::program::Place;

#[test]
fn eight_stages_end_in_a_table_and_a_report() {
    let place = Place::with_text(String::new());
    let demo = ["demo", "--smallest", "--out", "story", "--json"];
    let output = place.json(&demo);
    let stages = output["stages"].as_array().expect("stages");
    let name = |stage: &Value| stage["stage"].as_str().map(String::from);
    let names: Vec<_> = stages.iter().filter_map(name).collect();
    assert_eq!(names, ["pretrain", "sft", "reward", "ppo", "reward2", "ppo2", "reward3", "ppo3"]);
    assert!(output["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    for stage in stages {
        let has = |key: &str| stage[key].is_number();
        match stage["stage"].as_str().unwrap_or_default() {
            "reward" | "reward2" | "reward3" => assert!(has("accuracy") && has("val_loss"), "{stage}"),
            "pretrain" | "sft" => assert!(has("val_loss") && has("reward") && has("as_taught"), "{stage}"),
            _ => assert!(has("kl") && has("reward"), "{stage}"),
        }
        let talks = !has("accuracy") && stage["stage"] != "pretrain";
        let gold = &stage["gold"];
        let ordered = gold["low"].as_f64() <= gold["mean"].as_f64() && gold["mean"].as_f64() <= gold["high"].as_f64();
        assert!(gold["mean"].is_number() == talks && ordered, "{stage}");
        if has("reward") {
            let samples = stage["samples"].as_array().expect("samples");
            assert_eq!(samples.len(), 2, "{stage}");
            assert!(samples.iter().all(|sample| sample["prompt"].is_string() && sample["reward"].is_number()));
        }
    }
    let page = std::fs::read_to_string(place.path("story/report.html")).expect("the report");
    assert!(output["gain"]["low"].is_number(), "{}", output["gain"]);
    assert_eq!(page.matches("<svg").count(), 1 + 8);

    // Interrupted in the middle, it goes on there and ends as it would have.
    let record = place.path("story/story.json");
    let mut story: Value = serde_json::from_slice(&std::fs::read(&record).expect("the record")).expect("JSON");
    story["stages"].as_array_mut().expect("stages").truncate(5);
    std::fs::write(&record, story.to_string()).expect("the record");
    for stage in ["ppo2", "reward3", "ppo3"] {
        std::fs::remove_dir_all(place.path("story").join(stage)).expect("a stage");
    }
    let resumed = place.json(&["demo", "--smallest", "--out", "story", "--resume", "--json"]);
    let scores = |output: &Value| {
        let stages = output["stages"].as_array().expect("stages").iter();
        Value::from(stages.map(|stage| stage["gold"]["mean"].clone()).collect::<Vec<_>>())
    };
    assert!(alike(&scores(&resumed), &scores(&output)), "{}\n{}", resumed["stages"], output["stages"]);

    // Everything exists already, so only the table is created again.
    let again = place.json(&["demo", "--smallest", "--out", "story", "--resume", "--json"]);
    assert!(alike(&again["stages"], &resumed["stages"]), "{}\n{}", again["stages"], resumed["stages"]);
    let said = place.failure(&["report", "story"]);
    let page = place.path("story").join("report.html");
    assert!(page.exists() && said.contains("its report is story") && said.contains("wgpt report story/ppo"), "{said}");
    let other = place.failure(&["demo", "--out", "story", "--resume"]);
    assert!(other.contains("use the same options"), "{other}");
    let used = place.failure(&demo);
    assert!(used.contains("add --resume"), "{used}");
}

/// Whether values agree up to rounding: a later process may load tuning choices that the first one did not have.
fn alike(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap_or(f64::NAN), right.as_f64().unwrap_or(f64::NAN));
            (left - right).abs() <= 1e-4 * (1.0 + left.abs())
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| alike(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let same = |(key, value): (&String, &Value)| right.get(key).is_some_and(|other| alike(value, other));
            left.len() == right.len() && left.iter().all(same)
        }
        (left, right) => left == right,
    }
}

/// A rater at the terminal, with three pairs in each round.
#[test]
fn you_can_be_the_one_who_rates() {
    let place = Place::with_text(String::new());
    let refused = place.failure(&["demo", "--smallest", "--rate", "0", "--out", "mine"]);
    assert!(refused.contains("from 1 to"), "{refused}");
    let demo = ["demo", "--smallest", "--rate", "3", "--out", "mine", "--json"];
    let mut child = place.talk(&demo);
    child.stdin.take().expect("a pipe").write_all("b\n".repeat(9).as_bytes()).expect("it listens");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = place.json(&["feedback", "list", "--feedback", "mine/feedback.sqlite", "--json"]);
    assert_eq!(list["ratings"].as_array().map(Vec::len), Some(9), "{list}");
}
