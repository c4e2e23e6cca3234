//! `wgpt doctor --tuner`: what it tells of a class, and that it leaves what was tuned alone.

use crate::program::Place;

/// Speeds are a matter of the machine; that every choice is among what was timed, and every ratio right, is not.
#[test]
fn choices_are_held_against_all_variants() {
    let place = Place::with_text("");
    let output = place.run(&["doctor", "--tuner", "--classes", "rows 1x", "--report", "tuner.md", "--json", "--quiet"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    // A choice that is too slow is a failure, said after the findings.
    let line = stdout.lines().next().unwrap_or_default();
    let found: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON: {output:?}"));
    let findings = found["findings"].as_array().expect("findings");
    assert!(!findings.is_empty(), "{found}");
    for finding in findings {
        assert!(finding["class"].as_str().is_some_and(|class| class.contains("rows 1x")), "{finding}");
        let seconds = finding["seconds"].as_array().expect("seconds");
        let of = |name| seconds.iter().find(|pair| pair[0] == finding[name]).and_then(|pair| pair[1].as_f64());
        let (chosen, best) = (of("chosen").expect("it was timed"), of("best").expect("it was timed"));
        assert!(seconds.iter().filter_map(|pair| pair[1].as_f64()).all(|other| other >= best), "{finding}");
        assert!((finding["ratio"].as_f64().expect("a ratio") - chosen / best).abs() < 1e-9, "{finding}");
    }
    assert_eq!(output.status.success(), found["over"] == 0, "{found}");
    let report = std::fs::read_to_string(place.path("tuner.md")).expect("a report");
    assert!(report.contains("| rows 1x128 by 4 | 1x128 | plain |"), "{report}");
}

#[test]
fn classes_are_the_tuners() {
    let place = Place::with_text("");
    assert!(place.failure(&["doctor", "--classes", "rows"]).contains("--tuner"));
    assert!(place.failure(&["doctor", "--tuner", "--list"]).contains("cannot be used"));
}
