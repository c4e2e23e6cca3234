//! The contents of the cache folder save time, and do no harm whatever they are.

use crate::program::Place;

/// Compiled pipelines that were truncated, changed or replaced by anything else are created again.
#[test]
fn broken_caches_are_forgotten() {
    let place = Place::with_text("");
    let plan = ["plan", "--layers", "1", "--heads", "2", "--width", "16", "--context", "8", "--batch", "1", "--quiet"];
    let run = || {
        let output = place.run_apart(&plan);
        assert!(output.status.success(), "{output:?}");
    };
    run();
    let files = || std::fs::read_dir(place.path("cache")).expect("a cache").map(|entry| entry.expect("a file").path());
    let named = |start: &str| {
        files().find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)))
    };
    let tuning = named("tuning-").expect("choices were kept");
    // Only Vulkan exposes compiled pipelines.
    let compiled = named("wgpu_pipeline_cache");
    let whole = compiled.as_ref().map(|file| std::fs::read(file).expect("bytes"));
    // They are programs, so what others could have written is not taken.
    #[cfg(unix)]
    if let Some(file) = &compiled {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| path.metadata().expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode(file), 0o600);
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o620)).expect("changed");
        run();
        assert_eq!(mode(file), 0o600, "compiled and kept again");
    }
    for damage in 0..4 {
        std::fs::write(&tuning, ["{", "", "[1]", "\u{0}"][damage]).expect("written");
        if let (Some(file), Some(whole)) = (&compiled, &whole) {
            let mut broken = whole.clone();
            match damage {
                0 => broken.truncate(whole.len() - 1),
                1 => *broken.last_mut().expect("bytes") ^= 1,
                2 => broken = b"anything".to_vec(),
                _ => broken.clear(),
            }
            std::fs::write(file, broken).expect("written");
        }
        run();
        assert!(std::fs::read_to_string(&tuning).is_ok_and(|text| text.contains("matmul")), "tuned again");
        if let (Some(file), Some(whole)) = (&compiled, &whole) {
            assert_eq!(std::fs::read(file).expect("bytes").len(), whole.len(), "compiled again");
        }
    }
}
