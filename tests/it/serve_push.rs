//! Checkpoints that the collector pushes elsewhere.

use std::path::Path;

use crate::serving::Serving;
use crate::support::{Dir, eventually, run};

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;

fn sizes(directory: &Path) -> Vec<u64> {
    let mut sizes: Vec<u64> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
        .map(|name| {
            let parts: Vec<&str> = name.split('.').collect();
            assert!(parts.len() == 3 && parts[0].len() == 32 && parts[2] == "checkpoint", "{name}");
            parts[1].parse().expect("a tree size")
        })
        .collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn each_new_checkpoint_is_added_to_a_directory_elsewhere_and_the_last_covers_the_end() {
    let dir = Dir::new();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    let settings =
        "[collector]\ncheckpoint_push_to = \"elsewhere\"\ncheckpoint_push_interval = \"1s\"\n";
    let collector = Serving::start(&dir, settings);
    let mut peer = collector.connect();
    peer.ask(EVENT);
    eventually("a checkpoint over the event", || sizes(&elsewhere).iter().any(|size| *size >= 3));
    let before = sizes(&elsewhere);
    peer.ask(EVENT);
    eventually("another one", || sizes(&elsewhere).len() > before.len());
    collector.terminate();
    let all = sizes(&elsewhere);
    assert!(all.starts_with(&before), "none was removed: {before:?} {all:?}");
    let (_, note, _) = run(&dir, &["checkpoint"]);
    let size: u64 = note.lines().nth(1).expect("a size").parse().expect("a number");
    assert_eq!(all.last(), Some(&size), "the end is covered");
    for entry in std::fs::read_dir(&elsewhere).expect("a directory") {
        let path = entry.expect("entry").path();
        let (code, said, _) = run(&dir, &["verify", "--against", path.to_str().expect("utf-8")]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("anchored"), "{said}");
    }
    // What only a copy elsewhere reveals: the end cut off, with all that tells of it.
    let newest = elsewhere.join(
        std::fs::read_dir(&elsewhere)
            .expect("a directory")
            .map(|entry| entry.expect("entry").file_name())
            .max()
            .expect("a file"),
    );
    let log = dir.log().join("audit.log");
    let text = std::fs::read_to_string(&log).expect("read");
    let cut: String = text.split_inclusive('\n').take(2).collect();
    std::fs::write(&log, cut).expect("written");
    let (code, _, _) = run(&dir, &["verify", "--against", newest.to_str().expect("utf-8")]);
    assert_eq!(code, 1);
}

#[test]
fn a_file_elsewhere_is_replaced_and_one_that_cannot_be_written_is_told_once() {
    let dir = Dir::new();
    let settings =
        "[collector]\ncheckpoint_push_to = \"away/newest\"\ncheckpoint_push_interval = \"1s\"\n";
    let collector = Serving::start(&dir, settings);
    eventually("it is told", || collector.stderr().contains("cannot be written to away/newest"));
    let mut peer = collector.connect();
    assert!(peer.ask(EVENT)["ok"]["seq"].is_u64(), "the collector goes on");
    std::fs::create_dir(dir.path().join("away")).expect("made");
    let file = dir.path().join("away/newest");
    eventually("it works again", || file.exists());
    let first = std::fs::read_to_string(&file).expect("read");
    peer.ask(EVENT);
    eventually("it is replaced", || std::fs::read_to_string(&file).expect("read") != first);
    let again = "pushing checkpoints to away/newest works again";
    eventually("that is told", || collector.stderr().contains(again));
    let said = collector.stderr();
    assert_eq!(said.matches("cannot push the checkpoint").count(), 1, "{said}");
    collector.terminate();
    let (_, note, _) = run(&dir, &["checkpoint"]);
    assert_eq!(std::fs::read_to_string(&file).expect("read"), note);
}
