//! `wgpt shaders`: the list, the files, and disabled variants.

use serde_json::Value;

use crate::program::Place;

fn entries(found: &Value) -> Vec<(String, Value)> {
    let sets = found["sets"].as_array().expect("sets");
    let of = |set: &Value| {
        let name = set["name"].as_str().expect("a name").to_string();
        let variants = set["variants"].as_array().expect("variants").clone();
        variants.into_iter().map(move |variant| (name.clone(), variant))
    };
    sets.iter().flat_map(of).collect()
}

/// Every language that is not missing has its file, and `shaders.json` equals the command's output.
#[test]
fn dumps_every_language() {
    let place = Place::with_text("");
    let found = place.json(&["shaders", "--for", "all", "--only", "softmax ", "--dump", "out", "--json", "--quiet"]);
    let entries = entries(&found);
    assert!(!entries.is_empty());
    for (platform, entry) in entries {
        assert!(entry["errors"].as_object().is_some_and(|errors| errors.is_empty()), "{entry}");
        let languages: &[_] = match platform.as_str() {
            "browser" => &[("wgsl", "wgsl")],
            "metal" => &[("wgsl", "wgsl"), ("msl", "metal")],
            "dx12" => &[("wgsl", "wgsl"), ("hlsl-5.1", "hlsl"), ("hlsl-6.2", "hlsl")],
            _ => &[("wgsl", "wgsl"), ("spirv", "spv")],
        };
        for (language, ending) in languages {
            let file = format!("out/{platform}/{language}/{}.{ending}", entry["file"].as_str().expect("a file"));
            assert_eq!(place.path(&file).exists(), entry["missing"].get(language).is_none(), "{file}");
        }
    }
    let kept = std::fs::read_to_string(place.path("out/shaders.json")).expect("a table of contents");
    assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON"), found);
    assert!(place.failure(&["shaders", "--dump", "out"]).contains("not empty"));
}

#[test]
fn lists_what_this_adapter_could_choose() {
    let place = Place::with_text("");
    let output = place.run(&["shaders", "--quiet"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(stdout.contains(" softmax\n") && stdout.contains("tiled 64x64x16"), "{stdout}");
}

#[test]
fn variants_are_left_unused_by_name() {
    let place = Place::with_text("");
    let arguments = ["shaders", "--only", "matmul_tiled", "--json", "--quiet"];
    let count = |output: std::process::Output| {
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        entries(&serde_json::from_str(&line).unwrap_or_else(|_| panic!("JSON: {output:?}"))).len()
    };
    let all = count(place.run(&arguments));
    let some = count(place.run_with(&[("WGPT_WITHOUT_VARIANTS", "tiled 64x64x16")], &arguments));
    let none = count(place.run_with(&[("WGPT_WITHOUT_VARIANTS", "tiled 64x64x16; matmul_tiled")], &arguments));
    assert!(all > some && some > none && none == 0, "{all}, {some}, {none}");
    let output = place.run_with(&[("WGPT_WITHOUT_VARIANTS", "tiled 64")], &arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains("no variant is named 'tiled 64'"), "{stderr}");
}
