//! Good and bad surroundings, on temporary directories.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{Id, Path, Principal, Status, Surroundings, check};
use crate::audit::AuditLog;
use crate::audit::Options;
use crate::validate::request::tests::surroundings_in;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
}

fn problems(seen: &Surroundings) -> Vec<(Id, Status, String)> {
    let checks = check(seen).into_iter().filter(|check| check.status.is_problem());
    checks.map(|check| (check.id, check.status, check.message)).collect()
}

/// With a log that was opened and closed.
fn with_log(dir: &Path) -> Surroundings {
    let seen = surroundings_in(dir);
    let log = AuditLog::open(Options::new(&seen.request.settings.log_dir)).expect("open");
    log.close().expect("close");
    seen
}

#[test]
fn a_fresh_directory_and_a_log_of_ours_have_no_problems() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let fresh = surroundings_in(dir.path());
    assert_eq!(problems(&fresh), []);
    let made = tempfile::tempdir().expect("temporary directory");
    assert_eq!(problems(&with_log(made.path())), []);
}

#[test]
fn modes_that_let_others_in_are_found_and_the_worse_they_are_the_worse_it_is() {
    for (name, mode, id, status) in [
        ("", 0o755, Id::PermissionsMode, Status::Warning),
        ("", 0o770, Id::PermissionsMode, Status::Failed),
        ("audit.log", 0o644, Id::PermissionsMode, Status::Warning),
        ("audit.log", 0o622, Id::PermissionsMode, Status::Failed),
        ("audit.key", 0o604, Id::PermissionsMode, Status::Failed),
    ] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let seen = with_log(dir.path());
        let path = dir.path().join("logs").join(name);
        chmod(&path, mode);
        let found = problems(&seen);
        assert_eq!(found.len(), 1, "{name} {mode:o}: {found:?}");
        assert_eq!((found[0].0, found[0].1), (id, status), "{name} {mode:o}");
        assert!(found[0].2.contains(&format!("{mode:04o}")), "{found:?}");
    }
}

#[test]
fn a_token_that_others_may_read_fails_and_one_that_is_missing_too() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = surroundings_in(dir.path());
    let token = dir.path().join("token");
    seen.request.settings.collector.token_file = Some(token.clone());
    let found = problems(&seen);
    assert_eq!((found[0].0, found[0].1), (Id::PermissionsKind, Status::Failed));
    fs::write(&token, "0123456789abcdef").expect("write");
    chmod(&token, 0o644);
    let found = problems(&seen);
    assert_eq!((found[0].0, found[0].1), (Id::PermissionsMode, Status::Failed));
    chmod(&token, 0o600);
    assert_eq!(problems(&seen), []);
}

#[test]
fn symbolic_links_are_told_of_and_followed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = with_log(dir.path());
    let link = dir.path().join("link");
    symlink(dir.path().join("logs"), &link).expect("link");
    seen.request.settings.log_dir = link;
    let found = problems(&seen);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1), (Id::PermissionsSymlink, Status::Warning));
    assert!(found[0].2.contains("logs"), "{found:?}");
}

#[test]
fn a_file_where_a_directory_is_wanted_is_a_failure() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let seen = surroundings_in(dir.path());
    fs::write(dir.path().join("logs"), "mine").expect("write");
    chmod(&dir.path().join("logs"), 0o600);
    assert!(problems(&seen).iter().any(|(id, ..)| *id == Id::PermissionsKind));
}

#[test]
fn another_user_may_not_what_the_modes_keep_from_him() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = with_log(dir.path());
    let uid = rustix::process::geteuid().as_raw() + 4_321;
    seen.principal =
        Ok(Principal { name: "other".into(), uid, gids: vec![uid], is_process: false });
    let found = problems(&seen);
    let refused: Vec<&String> = found
        .iter()
        .filter(|(id, status, _)| *id == Id::PermissionsAccess && *status == Status::Failed)
        .map(|(.., message)| message)
        .collect();
    assert!(refused.iter().all(|message| message.contains("other")), "{refused:?}");
    assert!(refused.iter().any(|message| message.contains("the log directory")), "{refused:?}");
    // The files in it would only say the same again.
    assert!(!refused.iter().any(|message| message.contains("the signing key")), "{refused:?}");
    seen.principal = Err("there is no user \"ghost\" here".into());
    let found = problems(&seen);
    assert_eq!((found.len(), found[0].0), (1, Id::PermissionsUser));
}

#[test]
fn a_directory_above_that_everybody_may_change_is_a_warning_but_not_a_sticky_one() {
    for (mode, warns) in [(0o777, true), (0o1777, false), (0o755, false)] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let seen = with_log(dir.path());
        chmod(dir.path(), mode);
        let found = problems(&seen);
        let warned = found.iter().any(|(id, ..)| *id == Id::PermissionsParents);
        assert_eq!(warned, warns, "{mode:o}: {found:?}");
    }
}

#[test]
fn a_key_that_root_hands_to_a_group_is_no_finding_and_one_for_all_is() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = surroundings_in(dir.path());
    let key = dir.path().join("key.pem");
    fs::write(&key, "x").expect("write");
    seen.request.settings.collector.tls_key = Some(key.clone());
    for (mode, expected) in [(0o640, 0), (0o440, 0), (0o660, 1), (0o644, 1)] {
        chmod(&key, mode);
        let found = problems(&seen);
        assert_eq!(found.len(), expected, "{mode:o}: {found:?}");
    }
    // Another's file for a group is a finding: the group is not root's choice.
    chmod(&key, 0o640);
    std::os::unix::fs::chown(&key, Some(65534), None).expect("owner");
    assert!(problems(&seen).iter().any(|(id, ..)| *id == Id::PermissionsMode));
}

#[test]
fn a_directory_above_owned_by_a_stranger_warns() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut seen = with_log(dir.path());
    let own = rustix::process::geteuid().as_raw();
    // The directory above belongs to whoever runs this, or where that is root, to
    // somebody else; the service is a third.
    let stranger = if own == 0 { 4_321 } else { own };
    if own == 0 {
        std::os::unix::fs::chown(dir.path(), Some(stranger), None).expect("given away");
    }
    let principal =
        |uid| Principal { name: "service".to_owned(), uid, gids: Vec::new(), is_process: false };
    let above = |seen: &Surroundings| {
        let found = check(seen).into_iter().filter(|check| check.id == Id::PermissionsParents);
        found.map(|check| (check.status, check.path)).collect::<Vec<_>>()
    };
    seen.principal = Ok(principal(stranger + 1));
    let resolved = fs::canonicalize(dir.path()).expect("there");
    assert!(
        above(&seen).contains(&(Status::Warning, Some(resolved.clone()))),
        "{:?}",
        above(&seen)
    );
    // Its owner's own service is warned of nothing there.
    seen.principal = Ok(principal(stranger));
    assert!(!above(&seen).contains(&(Status::Warning, Some(resolved))), "{:?}", above(&seen));
}
