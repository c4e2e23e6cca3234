//! `wgpt doctor`: the tuner's classes, adapters by name and index, invalid settings.

use std::{path::Path, process::Output};

use serde_json::Value;

use crate::program::Place;

/// The findings as JSON; if they fail the check, another line follows that says so.
fn json(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(stdout.lines().next().unwrap_or_default()).unwrap_or_else(|_| panic!("JSON: {output:?}"))
}

/// Speeds depend on the machine, but every choice must be among the timed variants, and every ratio must be right.
#[test]
fn choices_are_held_against_all_variants() {
    let place = Place::with_text("");
    let output = place.run(&["doctor", "--tuner", "--classes", "rows 1x", "--report", "tuner.md", "--json", "--quiet"]);
    let found = json(&output);
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

/// With two drivers there are two adapters, each selectable by part of its name and by its index.
#[test]
fn adapters_are_chosen_by_name_and_by_index() {
    let llvmpipe = format!("/usr/share/vulkan/icd.d/lvp_icd.{}.json", std::env::consts::ARCH);
    let swiftshader = "/usr/lib/chromium/vk_swiftshader_icd.json";
    if ![&llvmpipe, swiftshader].iter().all(|file| Path::new(file).exists()) {
        return println!("skipped: llvmpipe and SwiftShader are not both there");
    }
    let place = Place::with_text("");
    let both = [("VK_ICD_FILENAMES", &*format!("{llvmpipe}:{swiftshader}"))];
    let listed = json(&place.run_with(&both, &["doctor", "--list", "--json"]));
    let adapters = listed["adapters"].as_array().expect("adapters");
    assert_eq!(adapters.len(), 2, "{listed}");
    for name in ["llvmpipe", "SwiftShader"] {
        let index = adapters.iter().position(|adapter| adapter.as_str().is_some_and(|words| words.contains(name)));
        let index = index.unwrap_or_else(|| panic!("{name}: {listed}")).to_string();
        for wanted in [name.to_lowercase(), index] {
            // Opens the adapter and does nothing else.
            let idle = ["doctor", "--tuner", "--classes", "none", "--json", "--quiet", "--adapter", &wanted];
            let found = json(&place.run_with(&both, &idle));
            assert!(found["adapter"].as_str().is_some_and(|words| words.contains(name)), "{wanted}: {found}");
        }
    }
    let output = place.run_with(&both, &["doctor", "--adapter", "voodoo"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lists =
        said.contains("0: ") && said.contains("llvmpipe") && said.contains("; 1: ") && said.contains("SwiftShader");
    assert!(!output.status.success() && said.contains("no adapter matches 'voodoo'") && lists, "{said}");
}

#[test]
fn wishes_that_mean_nothing_are_refused() {
    let place = Place::with_text("");
    let wishes = [
        ("WGPT_WITHOUT", "f16,shaders", "there is no 'shaders'; known are f16, subgroups, cooperative, immediates, "),
        ("WGPT_LIMITS", "tiny", "WGPT_LIMITS=tiny: give minimum"),
    ];
    for (name, value, words) in wishes {
        for option in ["--no-times", "--list"] {
            let output = place.run_with(&[(name, value)], &["doctor", option]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(words), "{option}: {said}");
        }
    }
}
