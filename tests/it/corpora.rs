//! Every committed input of the fuzz targets, through what the targets call:
//! what was found once stays found, without libFuzzer.

use std::path::Path;

use crate::support::skipped;

// A crate of its own in fuzz/, where all of this is public.
#[allow(unreachable_pub)]
#[path = "../../fuzz/src/lib.rs"]
mod checks;

#[test]
fn every_input_that_fuzzing_kept_still_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    if !corpora.is_dir() {
        return skipped("the package has no fuzz corpora");
    }
    for (name, check) in checks::CHECKS {
        let inputs = std::fs::read_dir(corpora.join(name)).expect(name);
        let mut seen = 0;
        for path in inputs.map(|entry| entry.expect("an entry").path()) {
            let input = std::fs::read(&path).expect("an input");
            let held = std::panic::catch_unwind(|| check(&input));
            assert!(held.is_ok(), "{}", path.display());
            seen += 1;
        }
        assert!(seen > 4, "{name}: {seen} inputs");
    }
}

#[test]
fn every_fuzz_target_has_its_corpus_and_its_place_in_cargo_fuzz() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.is_dir() {
        return skipped("the package has no fuzz targets");
    }
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let names = |folder: &str| {
        let entries = std::fs::read_dir(fuzz.join(folder)).expect(folder);
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect();
        names.sort();
        names
    };
    let checked: Vec<&str> = checks::CHECKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names("fuzz_targets"), checked);
    assert_eq!(names("corpus"), checked);
    for name in checked {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
