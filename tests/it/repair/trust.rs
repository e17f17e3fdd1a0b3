//! What a copy is believed, and what not.

use super::*;

/// A copy that somebody made up.
struct Forged {
    lines: Vec<String>,
    tree: Range,
    note: String,
    rotations: Vec<Rotation>,
}

impl Forged {
    /// These lines from record 0 on, under a note over them by that key.
    fn new(lines: Vec<String>, key: SigningKey, origin: Origin, rotations: &[Rotation]) -> Self {
        let mut tree = Range::empty(0);
        for line in &lines {
            tree.append_line(line.as_bytes());
        }
        let mut signer = Signer::new(key, origin).expect("a signer");
        let note = signer.sign(&tree, &tree).expect("signed").to_string();
        Self { lines, tree, note, rotations: rotations.to_vec() }
    }
}

impl Copy for Forged {
    fn name(&self) -> &str {
        "forged"
    }

    fn first_seq(&self) -> u64 {
        0
    }

    fn tree(&self) -> &Range {
        &self.tree
    }

    fn note(&self) -> &str {
        &self.note
    }

    fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    fn block(&self, seq: u64) -> std::io::Result<Option<CopiedBlock>> {
        let Some(line) = self.lines.get(seq as usize) else { return Ok(None) };
        let raw = format!("{line}\n").into_bytes();
        Ok(Some(CopiedBlock { first_seq: seq, raw, member: None }))
    }
}

/// Whoever has a key of somebody else puts nothing into the log.
#[test]
fn nothing_is_taken_from_a_copy_that_no_key_of_the_log_signed() {
    let (home, lines) = damaged_later();
    let origin: Origin = SigningKey::load(&OsFs, &home.log_dir().join("audit.key"))
        .expect("a key")
        .name()
        .parse()
        .expect("an origin");
    let stranger = SigningKey::generate(&origin.key_name()).expect("a key");
    let mut told = lines.clone();
    let at = told.iter().rposition(|line| line.contains("user-")).expect("an event");
    told[at] = told[at].replacen("user-", "abuser", 1);
    edit_active(&home, |lines| *lines.last_mut().expect("a line") = "nothing".to_owned());
    let forged = Forged::new(told, stranger, origin, &[]);
    let repair = planned(&home, &[&forged]);
    assert!(repair.changes.is_empty(), "{:?}", repair.changes);
    assert_eq!(repair.rejected.len(), 1, "{:?}", repair.rejected);
}

/// A key that was retired, and stolen since, signs what it likes below the place where
/// it was retired; the log's own signatures say otherwise.
#[test]
fn a_retired_key_puts_nothing_into_the_log_that_its_root_does_not_prove() {
    let home = Home::new();
    home.record(5);
    let path = home.log_dir().join("audit.key");
    let theirs = home.dir.path().join("stolen");
    std::fs::copy(&path, &theirs).expect("copied");
    let stolen = || SigningKey::load(&OsFs, &theirs).expect("a key");
    let log = home.open();
    crate::keys::rotate(&log);
    log.close().expect("closed");
    home.record(3);
    let lines = all_lines(&home.log_dir());
    let origin: Origin = stolen().name().parse().expect("an origin");
    let history = auditctl::audit::keys::KeyHistory::load(
        &OsFs,
        &auditctl::audit::LogPaths::new(&home.log_dir()),
    );
    let rotations = history.expect("read").expect("keys").rotations;
    // Two records are damaged: one that the forged copy has, and one that no copy has.
    let active = home.log_dir().join("audit.log");
    let text = String::from_utf8(read(&active)).expect("text");
    flip(&active, text.rfind("user-").expect("an event"));
    flip(&active, text.find("user-").expect("an event"));
    let before = read(&active);
    let mut told = lines[..6].to_vec();
    let at = told.iter().position(|line| line.contains("user-")).expect("an event");
    told[at] = told[at].replacen("user-", "abuser", 1);
    let forged = Forged::new(told, stolen(), origin.clone(), &rotations);
    let repair = planned(&home, &[&forged]);
    assert!(repair.rejected.is_empty(), "the old key was valid there: {:?}", repair.rejected);
    assert!(repair.changes.is_empty() && !repair.is_rooted, "{:?}", repair.changes);
    assert!(read(&active) == before);
    // What it holds unaltered, its noted hash proves, or the log's root: but that only once
    // all of it is there.
    let honest = Forged::new(lines[..6].to_vec(), stolen(), origin, &rotations);
    assert_eq!(planned(&home, &[&honest]).changes.len(), 1, "by the hash that was noted");
    std::fs::remove_file(home.log_dir().join("audit.leaves")).expect("removed");
    assert!(planned(&home, &[&honest]).changes.is_empty());
    let mut text = text.into_bytes();
    let at = String::from_utf8_lossy(&text).find("user-").expect("an event");
    text[at] ^= 1;
    std::fs::write(&active, text).expect("one damaged record");
    let repair = planned(&home, &[&honest]);
    assert!(repair.is_rooted && repair.changes.len() == 1, "{:?}", repair.changes);
}

/// Where lines are lost and nothing tells what stood there, only a copy fills the gap that
/// the key which signs now has signed over exactly these records, in this epoch.
#[test]
fn a_lost_line_is_taken_from_no_copy_but_of_the_newest_key_and_this_epoch() {
    let home = Home::new();
    home.record(5);
    let path = home.log_dir().join("audit.key");
    let theirs = home.dir.path().join("stolen");
    std::fs::copy(&path, &theirs).expect("copied");
    let log = home.open();
    crate::keys::rotate(&log);
    log.close().expect("closed");
    home.record(3);
    let lines = all_lines(&home.log_dir());
    let paths = auditctl::audit::LogPaths::new(&home.log_dir());
    let history = auditctl::audit::keys::KeyHistory::load(&OsFs, &paths);
    let rotations = history.expect("read").expect("keys").rotations;
    // One record is lost that the copies have, and one that none has.
    let is_event = |line: &String| line.contains("user-");
    let at = lines.iter().position(is_event).expect("an event");
    let last = lines.iter().rposition(is_event).expect("an event");
    std::fs::remove_file(home.log_dir().join("audit.leaves")).expect("removed");
    edit_active(&home, |lines| {
        lines[at] = "nothing".to_owned();
        lines[last] = "nothing".to_owned();
    });
    let retired = || SigningKey::load(&OsFs, &theirs).expect("a key");
    let newest = || SigningKey::load(&OsFs, &path).expect("a key");
    let origin: Origin = retired().name().parse().expect("an origin");
    let later: Origin = format!("{}/e1", retired().name()).parse().expect("an origin");
    let mut told = lines[..last].to_vec();
    told[at] = told[at].replacen("user-", "abuser", 1);
    let below = told[..6].to_vec();
    let mut other = lines[..last].to_vec();
    let next = (at + 1..last).find(|at| is_event(&lines[*at])).expect("another event");
    other[next] = other[next].replacen("user-", "abuser", 1);
    assert!(at < 6 && last > 6, "{at} {last}");
    let mut unsigned = Forged::new(lines[..last].to_vec(), newest(), origin.clone(), &rotations);
    unsigned.lines = told.clone();
    unsigned.tree = Forged::new(told.clone(), newest(), origin.clone(), &rotations).tree;
    let forged = [
        ("by a retired key", Forged::new(below, retired(), origin.clone(), &rotations)),
        ("in another epoch", Forged::new(told, newest(), later, &rotations)),
        ("over other records than were signed", unsigned),
        ("against lines that look good", Forged::new(other, newest(), origin.clone(), &rotations)),
    ];
    for (what, copy) in &forged {
        let repair = planned(&home, &[copy]);
        assert!(repair.changes.is_empty(), "{what}: {:?}", repair.changes);
        assert!(!repair.is_rooted, "{what}");
    }
    // What that key signed in this epoch fills it.
    let honest = Forged::new(lines[..last].to_vec(), newest(), origin, &rotations);
    let repair = planned(&home, &[&honest]);
    assert_eq!(repair.changes.len(), 1, "{:?} {:?}", repair.changes, repair.rejected);
}

/// A clone of the machine has the same key and signs in the same epoch: its records are
/// none of this log's, and no line that is good becomes one of them.
#[test]
fn nothing_is_taken_from_the_history_of_a_clone() {
    let home = Home::new();
    home.record(5);
    let clone = Home::new();
    copy_dir(&home.log_dir(), &clone.log_dir());
    auditctl::fsio::os::set_mode(&clone.log_dir(), 0o700).expect("mode");
    auditctl::fsio::os::set_mode(&clone.log_dir().join("audit.key"), 0o600).expect("mode");
    home.record(6);
    clone.record(9);
    clone.back_up();
    let lines = all_lines(&home.log_dir());
    edit_active(&home, |lines| {
        let last = lines.iter().rposition(|line| line.contains("user-")).expect("an event");
        lines[last] = lines[last].replacen("user-", "abuser", 1);
    });
    let damaged = all_lines(&home.log_dir());
    let copy = newest(&clone);
    for leaves in [true, false] {
        if !leaves {
            std::fs::remove_file(home.log_dir().join("audit.leaves")).expect("removed");
        }
        let repair = planned(&home, &[&copy]);
        assert!(repair.changes.is_empty(), "{leaves}: {:?}", repair.changes);
        assert!(!repair.left.is_empty() && !repair.is_rooted);
    }
    // Where no signed head is left, it is not the clone's that decides.
    for name in ["audit.checkpoint", "audit.head"] {
        std::fs::remove_file(home.log_dir().join(name)).expect("removed");
    }
    let looked = look(&needs(&home, &[&copy]), &Unwatched);
    assert!(matches!(looked, Err(RepairError::Contradicts { .. })), "{looked:?}");
    assert_eq!(all_lines(&home.log_dir()), damaged);
    assert_eq!(lines.len(), damaged.len());
}

/// The signed manifest says what a block holds: no copy's records are put there that do not,
/// whoever signed them.
#[test]
fn a_sealed_block_becomes_nothing_that_the_signed_manifest_does_not_say() {
    let (home, lines) = damaged_later();
    let path = home.log_dir().join("audit.key");
    let key = || SigningKey::load(&OsFs, &path).expect("a key");
    let origin: Origin = key().name().parse().expect("an origin");
    let mut told = lines.clone();
    let at = event(&told);
    told[at] = told[at].replacen("user-", "abuser", 1);
    let segment = sealed(&home).remove(0);
    flip(&segment, read(&segment).len() / 2);
    let forged = Forged::new(told, key(), origin.clone(), &[]);
    let repair = planned(&home, &[&forged]);
    let into =
        |repair: &Repair| repair.changes.iter().any(|change| change.file.contains(".log.gz"));
    assert!(!into(&repair) && !repair.left.is_empty(), "{:?}", repair.changes);
    // What was recorded is.
    let honest = Forged::new(lines, key(), origin, &[]);
    let repair = planned(&home, &[&honest]);
    assert!(into(&repair) && repair.left.is_empty(), "{:?}", repair.left);
}

/// A hole in the manifest that no signed record gave up is damage that stays.
#[test]
fn a_hole_that_nobody_gave_up_is_left_and_named() {
    let home = Home::new();
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors/bad/hole");
    copy_dir(&vector, &home.log_dir());
    for name in names(&home.log_dir()) {
        auditctl::fsio::os::set_mode(&home.log_dir().join(name), 0o600).expect("private");
    }
    let repair = planned(&home, &[]);
    assert!(!repair.mends_all(), "{:?}", repair.left);
    assert_eq!(repair.left[0].first_seq, 0, "{:?}", repair.left);
}
