//! Collecting when things go wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{DEADLINE, File, Inputs, MAX_PART_BYTES, PARTS, Part, Secrets, collect, pack, readme};
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::fsio::OsFs;

fn inputs() -> Arc<Inputs> {
    let settings = Settings { log_dir: PathBuf::from("/nowhere/at/all"), ..Settings::default() };
    let now = SystemClock.now();
    let (settings_problems, env) = (Vec::new(), Vec::new());
    Arc::new(Inputs { settings, settings_problems, env, fs: Arc::new(OsFs), now })
}

#[test]
fn a_part_that_hangs_panics_or_fails_is_noted_and_the_others_go_on() {
    fn hangs(_: &Inputs) -> super::Made {
        loop {
            std::thread::park();
        }
    }
    let part = |name, make, deadline| Part { name, about: "", deadline, make };
    let parts = [
        part("hangs", hangs, Duration::from_millis(1)),
        part("panics", |_| panic!("as it does"), DEADLINE),
        part("fails", |_| Err("see https://x.example/secret".to_owned()), DEADLINE),
        part("large", |_| Ok("ä".repeat(MAX_PART_BYTES)), DEADLINE),
        part("well", |_| Ok("well".to_owned()), DEADLINE),
    ];
    let (files, outcomes) = collect(&parts, &inputs(), &Secrets::default());
    let problems: Vec<_> = outcomes.iter().map(|outcome| outcome.problem.as_deref()).collect();
    assert_eq!(problems[0], Some("no answer within 0.001 s"));
    assert_eq!(problems[1], Some("making it ended with a panic"));
    assert_eq!(problems[2], Some("see https://(not shown)"));
    assert_eq!(problems[3], Some("cut off after 1048576 of 2097152 bytes"));
    assert_eq!(problems[4], None);
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["large", "well"]);
    let text = readme(SystemClock.now(), &outcomes);
    assert!(text.contains("- hangs: no answer"), "{text}");
}

#[test]
fn the_readme_names_every_file_and_each_name_is_used_once() {
    let text = readme(SystemClock.now(), &[]);
    for part in PARTS {
        assert_eq!(PARTS.iter().filter(|other| other.name == part.name).count(), 1);
        assert!(text.contains(&format!("- {}", part.name)), "{}", part.name);
    }
}

#[test]
fn an_archive_holds_the_files_for_their_owner_alone() {
    let file = File { name: "a.txt".to_owned(), text: "b\n".to_owned() };
    let bytes = pack("dir", &[file], SystemClock.now()).expect("packed");
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(&bytes[..]));
    let entries: Vec<_> = archive.entries().expect("entries").map(|e| e.expect("entry")).collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].header().mode().expect("mode"), 0o600);
    assert_eq!(entries[0].path().expect("path").display().to_string(), "dir/a.txt");
}
