use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::alerts::occurrence::Occurrence;
use crate::alerts::state::{Failed, Memory};
use crate::clock::Timestamp;
use crate::fsio::OsFs;

fn occurrence(n: u64) -> Occurrence {
    Occurrence {
        id: format!("log/ops/{n}"),
        alert: "ops".to_owned(),
        trigger: "event".to_owned(),
        at: Timestamp::from_micros(n as i64),
        record: None,
        record_cut: false,
        errors: None,
        health: None,
        suppressed: None,
        queued: std::time::Instant::now(),
    }
}

/// Something new waits, something old is done, and what is remembered changes.
fn change(n: u64) -> Change {
    let fired_at = Some(Timestamp::from_micros(n as i64));
    let memory = Memory { fired_at, suppressed: n, ..Memory::default() };
    let done = |every| n > 3 && n.is_multiple_of(every);
    let failed = Failed {
        id: format!("log/ops/{}", n - n.min(3)),
        alert: "ops".to_owned(),
        at: Timestamp::from_micros(n as i64),
        reason: "HTTP 404".to_owned(),
    };
    Change {
        cursor: Some(n * 10),
        alerts: BTreeMap::from([("ops".to_owned(), memory)]),
        add: vec![occurrence(n)],
        delivered: if done(2) { vec![format!("log/ops/{}", n - 2)] } else { Vec::new() },
        failed: if done(3) { vec![failed] } else { Vec::new() },
    }
}

fn text(state: &State) -> String {
    serde_json::to_string(&state.snapshot()).expect("JSON")
}

/// A seal that only who knows the key can make, and quicker than the log's.
#[derive(Debug)]
struct Key(&'static str);

impl Sealing for Key {
    fn seal(&self, about: &str) -> Result<String, String> {
        Ok(format!("{} sealed {about}", self.0))
    }

    fn holds(&self, about: &str, seal: &str) -> bool {
        self.seal(about).is_ok_and(|expected| expected == seal)
    }
}

fn place(path: &Path, log_id: &str, key: &'static str) -> Place {
    let (fs, log_id): (SharedFs, _) = (Arc::new(OsFs), log_id.to_owned());
    Place { fs, path: path.to_path_buf(), log_id, seal: Box::new(Key(key)), limit: 64 << 20 }
}

fn open(path: &Path) -> Found {
    Journal::open(place(path, "log", "ours"), "20260204_210940").expect("open")
}

fn reads(path: &Path) -> (State, Option<String>) {
    match read(&place(path, "log", "ours")) {
        Ok(read) => read,
        Err(Unread::NotOurs(why)) => (State::default(), Some(why)),
        Err(Unread::Missing) => panic!("it is there"),
        Err(Unread::Failed(error)) => panic!("{error}"),
    }
}

#[test]
fn a_journal_cut_anywhere_is_the_state_after_one_of_the_changes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    let Found { mut journal, mut state, .. } = open(&path);
    let mut states = vec![text(&state)];
    for n in 1..20 {
        let change = change(n);
        state.apply(&change);
        journal.append(&change, &state).expect("appended");
        states.push(text(&state));
    }
    let whole = std::fs::read(&path).expect("read");
    let begun = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1);
    let begun = begun.expect("two lines").0 + 1;
    let mut last = 0;
    for cut in begun..=whole.len() {
        // As a crash leaves it, or a power loss: with a hole behind.
        for hole in [0, 5_000] {
            std::fs::write(&path, [&whole[..cut], &vec![0; hole]].concat()).expect("written");
            let (found, why) = reads(&path);
            assert_eq!(why, None, "cut at {cut}");
            let at = states.iter().position(|known| *known == text(&found));
            let at = at.unwrap_or_else(|| panic!("cut at {cut}: {}", text(&found)));
            assert!(at >= last, "never back");
            last = at;
        }
    }
    assert_eq!(last, states.len() - 1);
}

#[test]
fn a_journal_that_anybody_changed_says_what_stands_before_the_change_and_no_more() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    let Found { mut journal, mut state, .. } = open(&path);
    let mut states = vec![text(&state)];
    for n in 1..8 {
        let change = change(n);
        state.apply(&change);
        journal.append(&change, &state).expect("appended");
        states.push(text(&state));
    }
    let whole = std::fs::read(&path).expect("read");
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let known =
        |state: &State| states.contains(&text(state)) || text(state) == text(&State::default());
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).expect("written");
        if let Err(Unread::Failed(error)) = read(&place(&path, "log", "ours")) {
            // The format's own number.
            assert!(error.to_string().contains("format"), "{at}: {error}");
            continue;
        }
        let (found, why) = reads(&path);
        let is_last = at + 1 == whole.len();
        assert!(why.is_some() || is_last, "byte {at}");
        assert!(known(&found), "byte {at}: {}", text(&found));
    }
    let rearranged: [Vec<&[u8]>; 5] = [
        [&lines[..3], &lines[4..]].concat(),
        [&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat(),
        [&lines[..], &lines[3..4]].concat(),
        [&lines[..1], &lines[3..]].concat(),
        vec![lines[0]],
    ];
    for lines in rearranged {
        std::fs::write(&path, lines.concat()).expect("written");
        let (found, why) = reads(&path);
        assert!(why.is_some() && known(&found), "{}", text(&found));
    }
    // Another key's, whole.
    std::fs::remove_file(&path).expect("removed");
    Journal::open(place(&path, "log", "theirs"), "stamp").expect("open");
    assert!(reads(&path).1.is_some());
}

#[test]
fn a_file_that_is_not_what_was_written_is_missed_and_put_back_whole() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    let Found { mut journal, mut state, .. } = open(&path);
    let change = change(1);
    state.apply(&change);
    journal.append(&change, &state).expect("appended");
    assert_eq!(journal.is_missed(), None);
    let touched = std::fs::File::options().append(true).open(&path).expect("open");
    touched.set_modified(std::time::UNIX_EPOCH).expect("touched");
    assert_eq!(journal.is_missed(), None, "the same content");
    type Attack = fn(&Path);
    let attacks: [(Attack, &str); 5] = [
        (|path| std::fs::remove_file(path).expect("removed"), "deleted"),
        (|path| std::fs::write(path, "").expect("emptied"), "altered"),
        (
            |path| {
                let text = std::fs::read_to_string(path).expect("text");
                std::fs::write(path, text.replacen("ops", "spo", 1)).expect("altered");
            },
            "altered",
        ),
        (
            |path| {
                let copy = path.with_extension("copy");
                std::fs::copy(path, &copy).expect("copied");
                std::fs::rename(&copy, path).expect("moved");
            },
            "replaced",
        ),
        (
            |path| {
                std::fs::remove_file(path).expect("removed");
                std::fs::create_dir(path).expect("made");
            },
            "replaced",
        ),
    ];
    for (attack, what) in attacks {
        attack(&path);
        assert_eq!(journal.is_missed(), Some(what));
        journal.put_back(&state, "20260204_210940").expect("put back");
        assert_eq!(journal.is_missed(), None, "{what}");
        let (found, why) = reads(&path);
        assert_eq!((text(&found), why), (text(&state), None), "{what}");
    }
}

#[test]
fn a_journal_that_has_grown_is_replaced_and_says_the_same() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    let Found { mut journal, mut state, .. } = open(&path);
    let mut largest = 0;
    for n in 1..3_000 {
        let change = Change { delivered: vec![format!("log/ops/{}", n - 1)], ..change(n) };
        state.apply(&change);
        journal.append(&change, &state).expect("appended");
        largest = largest.max(std::fs::metadata(&path).expect("there").len());
    }
    assert!(largest < 2 * MIN_COMPACT_BYTES, "{largest}");
    assert_eq!(text(&open(&path).state), text(&state));
}

#[test]
fn one_of_another_log_and_one_that_is_none_are_set_aside_before_more_of_them_is_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    open(&path);
    let other = Journal::open(place(&path, "other", "ours"), "stamp").expect("open");
    assert_eq!(other.state.cursor, None);
    let missed = other.missed.expect("another log's");
    assert_eq!(missed.set_aside.as_deref(), Some("audit.alerts.journal.foreign-stamp"));
    std::fs::write(
        &path,
        "{\"type\":\"auditctl/alerts-journal\",\"format\":2,\"log_id\":\"log\"}\n",
    )
    .expect("written");
    let newer = Journal::open(place(&path, "log", "ours"), "stamp").expect_err("a newer format");
    assert!(newer.to_string().contains("format 2"), "{newer}");
    // Larger than any of ours, or a line that never ends: no more of it is read.
    let file = std::fs::File::options().write(true).open(&path).expect("open");
    file.set_len(1 << 40).expect("sparse");
    let large = open(&path).missed.expect("none of ours");
    assert!(large.why.contains("larger than"), "{large:?}");
    std::fs::write(&path, "x".repeat(10 << 20)).expect("written");
    let endless = open(&path).missed.expect("none of ours");
    assert!(endless.why.contains("not a journal"), "{endless:?}");
}

#[test]
fn a_journal_may_be_added_to_in_each_line_and_says_the_same() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    // Sealed as a later version, with the log's key, would write it.
    let write = |header: &str, change: &dyn Fn(String) -> String| {
        let mut digest = Sha256::new();
        digest.update(header);
        let mut text = header.to_owned();
        let mut state = State::default();
        for n in 1..5 {
            let made = super::tests::change(n);
            state.apply(&made);
            let change = change(serde_json::to_string(&made).expect("JSON"));
            let mut up_to_here = digest.clone();
            up_to_here.update(&change);
            let seal = Key("ours").seal(&hex(&up_to_here.finalize())).expect("sealed");
            let line =
                format!("{{ \"added\": {{\"x\":1}}, \"seal\": {seal:?}, \"change\": {change} }}\n");
            digest.update(&line);
            text.push_str(&line);
        }
        std::fs::write(&path, text).expect("written");
        state
    };
    let same = |change: String| change;
    // The names in `alerts` are alerts'.
    let added = |change: String| {
        let (named, hidden) = ("\"alerts\":{", "\"alerts\":<");
        let text = change.replace(named, hidden).replace('{', "{ \"added\" : [ 1 ] , ");
        text.replace(hidden, named)
    };
    let header = r#"{"type":"auditctl/alerts-journal","format":1,"log_id":"log"}"#;
    let other =
        r#"{ "log_id": "log", "added": 1, "format": 1, "type": "auditctl/alerts-journal" }"#;
    for header in [header, other] {
        for change in [&same as &dyn Fn(String) -> String, &added] {
            let state = write(&format!("{header}\n"), change);
            let (found, why) = reads(&path);
            assert_eq!(why, None, "{header}");
            // What was added to an alert's memory is kept.
            let found = text(&found).replace(",\"added\":[1]", "");
            assert_eq!(found, text(&state), "{header}");
        }
    }
}

#[test]
fn a_newer_journal_stops_the_alerts_and_stays_as_it_is() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    let newer = "{\"type\":\"auditctl/alerts-journal\",\"format\":2,\"any\":[]}\nand more\n";
    std::fs::write(&path, newer).expect("written");
    let error = Journal::open(place(&path, "log", "ours"), "stamp").expect_err("newer");
    let text = error.to_string();
    assert!(text.contains("a newer version made it; use that version, or move it away"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), newer);
    assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1);
}

#[test]
fn a_header_line_is_read_up_to_its_limit() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("audit.alerts.journal");
    let begin = r#"{"type":"auditctl/alerts-journal","format":1,"log_id":"log","#;
    for (bytes, why) in
        [(-1, "only its first line"), (0, "only its first line"), (1, "not a journal")]
    {
        let wanted = (MAX_JOURNAL_HEADER_BYTES as i64 + bytes) as usize;
        let rest = wanted - begin.len() - "\"x\":\"\"}\n".len();
        let header = format!("{begin}\"x\":\"{}\"}}\n", "y".repeat(rest));
        assert_eq!(header.len(), wanted);
        std::fs::write(&path, header).expect("written");
        let found = reads(&path).1.expect("it has no changes");
        assert!(found.contains(why), "{bytes}: {found}");
    }
}
