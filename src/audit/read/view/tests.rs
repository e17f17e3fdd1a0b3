use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::fsio::OsFs;

fn view(dir: &Path) -> LogView {
    let fs: SharedFs = Arc::new(OsFs);
    LogView::new(&fs, dir)
}

/// Records 0 to 9 under that name.
fn segment(file: &str) -> Segment {
    Segment { file: file.to_owned(), ..Segment::empty(0, 10) }
}

fn listing(segments: Vec<Segment>) -> Result<Option<Arc<Manifest>>, ReadError> {
    let segments = segments.into();
    Ok(Some(Arc::new(Manifest { segments, ..Manifest::new("5f0c".to_owned()) })))
}

#[test]
fn a_segment_that_was_compressed_meanwhile_is_found_under_its_new_name() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (plain, packed) = (segment(&sealed_name(0, false)), segment(&sealed_name(0, true)));
    std::fs::write(directory.path().join(&packed.file), b"packed").expect("written");
    let stored = view(directory.path()).segment(&plain, || listing(vec![packed.clone()]));
    let Ok(Stored::Here(_, now)) = stored else { panic!("{stored:?}") };
    assert_eq!(now.file, packed.file);
}

#[test]
fn a_segment_that_the_log_lists_and_does_not_have_is_missing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let listed = segment(&sealed_name(0, true));
    let look = || view(directory.path()).segment(&listed, || listing(vec![listed.clone()]));
    let Ok(Stored::Missing(error)) = look() else { panic!("nothing is there") };
    assert!(error.to_string().contains(&listed.file), "{error}");
    // A directory holds no records either.
    std::fs::create_dir(directory.path().join(&listed.file)).expect("made");
    assert!(matches!(look(), Ok(Stored::Missing(_))));
}

#[test]
fn a_segment_that_the_log_lists_no_more_was_removed() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let gone = segment(&sealed_name(0, true));
    let stored = view(directory.path()).segment(&gone, || listing(Vec::new()));
    assert!(matches!(stored, Ok(Stored::Removed)), "{stored:?}");
}

#[test]
fn a_segment_of_a_log_that_does_not_say_what_it_lists_is_missing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let stored = view(directory.path()).segment(&segment(&sealed_name(0, true)), || Ok(None));
    assert!(matches!(stored, Ok(Stored::Missing(_))), "{stored:?}");
}

#[test]
fn what_moves_is_looked_at_until_it_settles() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let looks = Cell::new(0);
    let found = view(directory.path()).settled(|| {
        looks.set(looks.get() + 1);
        if looks.get() < 3 { Look::Moving(Ok("early")) } else { Look::Settled(Ok("whole")) }
    });
    assert_eq!((found.expect("looked"), looks.get()), ("whole", 3));
}

#[test]
fn what_never_settles_is_taken_as_it_is() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let found = view(directory.path()).settled(|| Look::Moving(Ok("torn")));
    assert_eq!(found.expect("looked"), "torn");
}

#[test]
fn an_empty_directory_is_no_log_and_a_log_without_its_manifest_is_a_damaged_one() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let view = view(directory.path());
    std::fs::write(directory.path().join("audit.log"), b"").expect("written");
    assert!(matches!(view.manifest(), Err(ReadError::NoLog { .. })));
    std::fs::write(directory.path().join("audit.log"), b"{\"seq\":0}\n").expect("written");
    assert!(matches!(view.manifest(), Err(ReadError::NoHead { .. })));
}

#[test]
fn plain_files_are_followed_as_far_as_each_begins_where_the_one_before_ends() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let lines = |from: u64, to: u64| -> String {
        (from..to).map(|seq| format!("{{\"seq\":{seq},\"x\":0}}\n")).collect()
    };
    let write = |name: &str, text: String| {
        std::fs::write(directory.path().join(name), text).expect("written");
    };
    write(&sealed_name(5, false), lines(5, 8));
    write("audit.log", lines(8, 10));
    let log = view(directory.path());
    let seqs = |next| -> Vec<_> {
        let tails = log.tails(next).expect("read");
        tails.into_iter().filter_map(|tail| tail.seqs).collect()
    };
    assert_eq!(seqs(5), [5..8, 8..10]);
    assert_eq!(seqs(8), vec![8..10]);
    // Nothing follows what ends before record 4.
    assert_eq!(seqs(4), vec![]);
    write("audit.log", lines(9, 10));
    assert_eq!(seqs(5), vec![5..8]);
}
