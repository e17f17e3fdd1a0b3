//! The page as others read it.

use super::*;

fn page() -> (tempfile::TempDir, std::path::PathBuf, StatusPage) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.status");
    let page = StatusPage::create(&path).expect("page");
    (directory, path, page)
}

#[test]
fn another_reader_sees_what_the_writer_stored() {
    let (_directory, path, page) = page();
    page.set(Word::NextSeq, 42);
    page.activity(Activity::Syncing, 7);
    page.top_blocked(Some("uid:7"), "käse", 3);
    page.publish();
    let seen = StatusSnapshot::read(&path).expect("read");
    assert_eq!(seen.get(Word::NextSeq), 42);
    assert_eq!(seen.activity(), Some(Activity::Syncing));
    let top = TopBlocked { sender: Some("uid:7".into()), source: "käse".into(), refused: 3 };
    assert_eq!(seen.top_blocked(), Some(top));
    // A source that leaves no room is named without who sent it.
    page.top_blocked(Some("uid:7"), &"x".repeat(252), 4);
    page.publish();
    let seen = page.snapshot();
    let top = seen.top_blocked().expect("one");
    assert_eq!((top.sender, top.source.len(), top.refused), (None, 252, 4));
}

#[test]
fn rings_forget_what_is_older_than_their_span_and_survive_a_restart() {
    let (_directory, path, page) = page();
    let start = Timestamp::from_micros(1_770_000_000_000_000);
    let at = |seconds: i64| Timestamp::from_micros(start.micros() + seconds * 1_000_000);
    page.count(Ring::Events, at(0), 5);
    page.count(Ring::Events, at(1), 7);
    page.count(Ring::Events, at(1), 1);
    page.count_security(SecurityKind::Validation, By::Known, at(0));
    page.count_security(SecurityKind::Validation, By::Stranger, at(0));
    page.count_security(SecurityKind::Unauthorized, By::Stranger, at(299));
    page.count_security(SecurityKind::Unauthorized, By::Stranger, at(300));
    page.publish();
    drop(page);
    let again = StatusPage::create(&path).expect("page");
    again.count(Ring::Events, at(64), 2);
    let seen = again.snapshot();
    assert_eq!(seen.recent(Ring::Events, at(10)), 13 - 5, "slot 0 was taken over by second 64");
    assert_eq!(seen.recent(Ring::Events, at(64)), 2, "the second-1 slot is older than a minute");
    assert_eq!(seen.recent(Ring::Validation, at(59 * 60)), 1);
    assert_eq!(seen.recent(Ring::Validation, at(61 * 60 + 60)), 0);
    // Apart from the others', and by five minutes.
    assert_eq!(seen.recent(Ring::Security, at(300)), 0);
    assert_eq!(seen.recent(Ring::Strangers, at(59 * 60)), 3);
    assert_eq!(seen.recent(Ring::Strangers, at(70 * 60)), 0);
}

#[test]
fn sync_times_land_in_their_bucket() {
    let (_directory, _path, page) = page();
    for micros in [50, 100, 101, 9_000_000] {
        page.sync_took(micros);
    }
    let seen = page.snapshot();
    assert_eq!(seen.nth(Word::SyncHistogram, 0), 2);
    assert_eq!(seen.nth(Word::SyncHistogram, 1), 1);
    assert_eq!(seen.nth(Word::SyncHistogram, 15), 1);
    assert_eq!(seen.get(Word::SyncMicrosMax), 9_000_000);
}

#[test]
fn the_fields_do_not_overlap_and_fit_the_page() {
    let length = |word: Word| match word {
        Word::SecurityCounts | Word::SyncHistogram | Word::StrangersRing => 16,
        Word::TopBlockedSource => 32,
        Word::EventRing | Word::BlockedRing | Word::ValidationRing | Word::SecurityRing => 64,
        _ => 1,
    };
    let mut used = vec![false; WORDS];
    for (word, name, doc) in Word::TABLE {
        assert!(!doc.is_empty());
        for slot in used.iter_mut().skip(*word as usize).take(length(*word)) {
            assert!(!std::mem::replace(slot, true), "{name} overlaps");
        }
    }
    assert!(SecurityKind::ALL.len() <= 16);
}

#[test]
fn a_file_that_is_no_page_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.status");
    std::fs::write(&path, b"short").expect("write");
    assert!(matches!(StatusSnapshot::read(&path), Err(StatusError::Format { .. })));
    std::fs::write(&path, [7; PAGE_BYTES]).expect("write");
    assert!(matches!(StatusSnapshot::read(&path), Err(StatusError::Format { .. })));
    let newer = [b"AUDSTAT2", &[7; PAGE_BYTES - 8][..]].concat();
    std::fs::write(&path, newer).expect("write");
    let error = StatusSnapshot::read(&path).expect_err("of a newer version");
    assert!(matches!(error, StatusError::Newer { found: '2', .. }), "{error}");
    // Half of one page and half of another, as a reader may see it on some file
    // systems while it is being written.
    let page = StatusPage::create(&path).expect("page");
    let one = std::fs::read(&path).expect("read");
    page.set(Word::Pid, 7);
    page.set(Word::TlsNotAfter, 7);
    page.publish();
    let other = std::fs::read(&path).expect("read");
    let mixture = [&one[..2_048], &other[2_048..]].concat();
    std::fs::write(&path, mixture).expect("write");
    let error = StatusSnapshot::read(&path).expect_err("neither");
    assert!(error.to_string().contains("checksum"), "{error}");
    std::fs::write(&path, &other).expect("write");
    assert_eq!(StatusSnapshot::read(&path).expect("whole").get(Word::Pid), 7);
}
