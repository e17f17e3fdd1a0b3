//! Root's commands in a service's directory, and a user whose HOME, working directory and
//! environment are another's. With real users, which only root can become.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::serving::Serving;
use crate::support::{Dir, auditctl, run, skipped};

/// A user of a service; no such user is known here, which must not matter.
const SERVICE: u32 = 4242;
const SETTINGS: &str =
    "[rate_limit]\nenabled = false\n[collector]\nhttp = \"off\"\ntoken_file = \"tokens\"\n";

fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        skipped("only root can become another user");
    }
    root
}

fn text(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(all).expect("utf-8")
}

/// As the service's user.
fn as_service(dir: &Dir, args: &[&str]) -> (i32, String) {
    let mut command = auditctl(dir, args);
    command.uid(SERVICE).gid(SERVICE);
    let output = command.output().expect("auditctl runs");
    (output.status.code().unwrap_or(-1), text(&output))
}

/// A directory of the service's.
fn of_service() -> Dir {
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), SETTINGS).expect("written");
    for path in [dir.path().to_path_buf(), dir.path().join("auditctl.toml")] {
        chown(&path, Some(SERVICE), Some(SERVICE)).expect("chown");
    }
    dir
}

/// What below a directory is not the service's.
fn strangers(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).expect("listed") {
            let path = entry.expect("an entry").path();
            let meta = std::fs::symlink_metadata(&path).expect("there");
            if (meta.uid(), meta.gid()) != (SERVICE, SERVICE) {
                found.push(path.clone());
            }
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

/// B4.
#[test]
fn what_roots_commands_leave_in_a_services_directory_is_the_services() {
    if !is_root() {
        return;
    }
    let dir = of_service();
    let (code, said) = as_service(&dir, &["record", "--type", "first"]);
    assert_eq!(code, 0, "{said}");
    let commands: &[&[&str]] = &[
        &["record", "--type", "e"],
        &["key", "rotate", "--keep-old", "old.key"],
        &["key", "new", "later.key"],
        &["backup"],
        &["verify", "--since-last"],
        &["record", "--type", "newer"],
        &["restore", "latest", "--force"],
        &["restore", "latest", "--target", "beside"],
        &["restore", "--drill"],
        &["backup"],
        &["cleanup", "--keep", "1"],
        &["token", "new", "--name", "ci"],
        &["validate"],
        &["support-bundle", "--output", "bundle.tar.gz"],
    ];
    for (turn, args) in commands.iter().enumerate() {
        let (code, out, err) = run(&dir, args);
        assert!(code == 0 || args[0] == "validate", "{args:?}: {out}{err}");
        assert_eq!(strangers(dir.path()), Vec::<PathBuf>::new(), "{args:?}");
        let seen = format!("after-{turn}");
        for own in [
            &["record", "--type", &seen][..],
            &["backup"],
            &["verify", "--since-last"],
            &["query", "--count"],
        ] {
            let (code, said) = as_service(&dir, own);
            assert_eq!(code, 0, "{own:?} after {args:?}: {said}");
        }
    }
    // The directories, too, where root's command is the first.
    let new = of_service();
    let (code, out, err) = run(&new, &["record", "--type", "first"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(strangers(new.path()), Vec::<PathBuf>::new());
    let (code, said) = as_service(&new, &["record", "--type", "second"]);
    assert_eq!(code, 0, "{said}");
}

/// B4.
#[test]
fn what_root_repairs_or_replaces_in_a_services_directory_is_the_services() {
    if !is_root() {
        return;
    }
    let dir = of_service();
    let settings = format!("max_segment_size = \"64KiB\"\n{SETTINGS}");
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("written");
    let line = format!(r#"{{"event_type":"e","details":{{"x":"{}"}}}}"#, "y".repeat(400));
    std::fs::write(dir.path().join("in"), format!("{line}\n").repeat(600)).expect("written");
    chown(dir.path().join("in"), Some(SERVICE), Some(SERVICE)).expect("chown");
    for own in [&["record", "--file", "in"][..], &["record", "--type", "e"], &["backup"]] {
        let (code, said) = as_service(&dir, own);
        assert_eq!(code, 0, "{own:?}: {said}");
    }
    let sealed = std::fs::read_dir(dir.log()).expect("listed").map(|it| it.expect("one").path());
    let sealed = sealed.filter(|path| path.to_string_lossy().contains("audit.0000"));
    let sealed = sealed.min().expect("a sealed segment");
    let mut bytes = std::fs::read(&sealed).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&sealed, bytes).expect("written");
    let (code, out, err) = run(&dir, &["repair"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(strangers(dir.path()), Vec::<PathBuf>::new(), "{out}");
    let (code, said) = as_service(&dir, &["verify"]);
    assert_eq!(code, 0, "{said}");
    std::fs::remove_file(dir.log().join("audit.key")).expect("removed");
    let (code, out, err) = run(&dir, &["key", "replace", "--reason", "lost"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(strangers(dir.path()), Vec::<PathBuf>::new(), "{out}");
    let (code, said) = as_service(&dir, &["record", "--type", "e"]);
    assert_eq!(code, 0, "{said}");
}

/// B4.
#[test]
fn a_collector_of_roots_leaves_a_directory_that_the_service_can_go_on_with() {
    if !is_root() {
        return;
    }
    let dir = of_service();
    let settings = format!("[collector]\nallowed_uids = [{SERVICE}]\n");
    let mut collector = Serving::start_with(&dir, &settings, &[], &[]);
    chown(dir.path().join("auditctl.toml"), Some(SERVICE), Some(SERVICE)).expect("chown");
    assert_eq!(strangers(dir.path()), Vec::<PathBuf>::new(), "the socket too");
    let (code, said) = as_service(&dir, &["record", "--type", "e"]);
    assert_eq!(code, 0, "through the socket: {said}");
    collector.signal(rustix::process::Signal::TERM);
    collector.wait();
    assert_eq!(strangers(dir.path()), Vec::<PathBuf>::new());
    let (code, said) = as_service(&dir, &["record", "--type", "e"]);
    assert_eq!(code, 0, "{said}");
}

/// B4.
#[test]
fn a_file_of_roots_that_stands_in_the_way_is_named_with_what_to_do() {
    if !is_root() {
        return;
    }
    let dir = of_service();
    let (code, said) = as_service(&dir, &["record", "--type", "e"]);
    assert_eq!(code, 0, "{said}");
    for name in ["audit.log", "audit.key", "audit.manifest.json", "audit.lock"] {
        let path = dir.log().join(name);
        chown(&path, Some(0), Some(0)).expect("chown");
        let (code, said) = as_service(&dir, &["record", "--type", "e"]);
        assert_eq!(code, 3, "{name}: {said}");
        for part in [name, "belongs to root", &format!("chown {SERVICE} ")] {
            assert!(said.contains(part), "{name}: {part}: {said}");
        }
        chown(&path, Some(SERVICE), Some(SERVICE)).expect("chown");
    }
    let (code, said) = as_service(&dir, &["record", "--type", "e"]);
    assert_eq!(code, 0, "{said}");
}

/// B10.
#[test]
fn a_settings_file_that_nobody_named_and_this_user_may_not_read_is_passed_over_and_told() {
    if !is_root() {
        return;
    }
    let dir = of_service();
    let (code, said) = as_service(&dir, &["record", "--type", "e"]);
    assert_eq!(code, 0, "{said}");
    let home = Dir::new();
    let file = home.path().join(".config/auditctl/auditctl.toml");
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("made");
    std::fs::write(&file, "nonsense = 1\n").expect("written");
    let closed = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
    };
    closed(home.path(), 0o700);
    let log = dir.log();
    let as_guest = |place: &Path, home: &Path, args: &[&str]| {
        // As `sudo -u` does it: the working directory stays what it was.
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={SERVICE}"), &format!("--regid={SERVICE}"), "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_auditctl"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .current_dir(place);
        let output = command.output().expect("setpriv runs");
        (output.status.code().unwrap_or(-1), text(&output))
    };
    let log_dir = log.to_str().expect("utf-8");
    let flags = ["--log-dir", log_dir];
    // HOME of another user, and a working directory of another's that cannot be entered.
    let loops = Dir::new();
    closed(loops.path(), 0o755);
    std::os::unix::fs::symlink("auditctl.toml", loops.path().join("auditctl.toml")).expect("link");
    let is_file = home.path().join("a-file");
    std::fs::write(&is_file, "").expect("written");
    closed(&is_file, 0o644);
    for (place, at_home) in [
        (Path::new("/"), home.path()),
        (home.path(), home.path()),
        (loops.path(), Path::new("/nonexistent")),
        (Path::new("/"), Path::new("/etc/passwd")),
    ] {
        for command in [&["query", "--count"][..], &["verify"], &["record", "--type", "x"]] {
            let (code, said) = as_guest(place, at_home, &[&flags, command].concat());
            assert_eq!(code, 0, "{command:?} in {}: {said}", place.display());
            assert!(said.contains("so it is ignored"), "{}: {said}", place.display());
        }
        let (code, said) = as_guest(place, at_home, &[&flags, &["health"][..]].concat());
        assert!(code == 1 && said.contains("so it is ignored"), "stopped, and no more: {said}");
        let (_, said) = as_guest(place, at_home, &[&flags, &["validate", "--quick"][..]].concat());
        assert!(said.contains("so it is ignored"), "{said}");
    }
    // What somebody named has to be there.
    for named in [
        &["--config", file.to_str().expect("utf-8"), "query"][..],
        &["--config", "/etc/passwd/x.toml", "query"],
    ] {
        let (code, said) = as_guest(Path::new("/"), Path::new("/"), named);
        assert!(code == 2 && said.contains("--config"), "{said}");
    }
    let mut command = auditctl(&dir, &["query"]);
    command.env("AUDITCTL_CONFIG", &file).uid(SERVICE).gid(SERVICE);
    let output = command.output().expect("auditctl runs");
    assert!(output.status.code() == Some(2) && text(&output).contains("AUDITCTL_CONFIG"));
    // One that can be read and is none is an error, as ever.
    closed(home.path(), 0o755);
    let (code, said) = as_guest(Path::new("/"), home.path(), &["query"]);
    assert!(code == 2 && said.contains("nonsense"), "{said}");
}

/// C14.
#[test]
fn a_variable_of_ours_that_is_not_utf8_is_an_error_that_names_it() {
    let dir = Dir::new();
    let value = OsStr::from_bytes(b"/tmp/\xff\x1b[31m");
    for (name, shown) in [
        (&b"AUDITCTL_LOG_DIR"[..], "AUDITCTL_LOG_DIR"),
        (b"AUDITCTL_CONFIG", "AUDITCTL_CONFIG"),
        (b"AUDITCTL_\xfe", "AUDITCTL_"),
    ] {
        for args in [&["record", "--type", "x"][..], &["query"], &["validate", "--quick"]] {
            let mut command = auditctl(&dir, args);
            command.env(OsStr::from_bytes(name), value);
            let output = command.output().expect("auditctl runs");
            let said = text(&output);
            let code = output.status.code().expect("it ends");
            assert!([1, 2].contains(&code), "{args:?}: {code}: {said}");
            assert!(said.contains(shown) && said.contains("not UTF-8"), "{said}");
            assert!(!said.contains("[31m") && !said.contains('\u{1b}'), "not its value: {said}");
            assert!(!dir.log().exists(), "the trail lands nowhere else");
        }
    }
    // A HOME that is none of UTF-8 is a directory like any other.
    let home = dir.path().join(OsStr::from_bytes(b"h\xff"));
    std::fs::create_dir_all(home.join(".config/auditctl")).expect("made");
    std::fs::write(home.join(".config/auditctl/auditctl.toml"), "log_dir = \"there\"\n")
        .expect("written");
    let output = auditctl(&dir, &["record", "--type", "x"]).env("HOME", &home).output();
    let output = output.expect("auditctl runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(dir.path().join("there/audit.log").exists(), "{}", text(&output));
}

/// C14.
#[test]
fn quotes_that_an_env_file_kept_are_an_error_with_what_to_write() {
    let dir = Dir::new();
    for (value, what) in [("\"/tmp/x\"", "quotes"), ("logs\r", "carriage return")] {
        let output = auditctl(&dir, &["record", "--type", "x"])
            .env("AUDITCTL_LOG_DIR", value)
            .output()
            .expect("auditctl runs");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(what) && said.contains("write AUDITCTL_LOG_DIR="), "{said}");
    }
    let output = auditctl(&dir, &["query"]).env("AUDITCTL_CONFIG", "'x.toml'").output();
    let said = text(&output.expect("auditctl runs"));
    assert!(said.contains("write AUDITCTL_CONFIG=x.toml"), "{said}");
}

/// C15.
#[test]
fn a_key_that_root_hands_to_a_group_is_taken_as_kubernetes_mounts_it() {
    if !is_root() {
        return;
    }
    let dir = of_service();
    let (code, said) = as_service(&dir, &["record", "--type", "e"]);
    assert_eq!(code, 0, "{said}");
    let secret = Dir::new();
    let (key, own) = (secret.path().join("audit.key"), dir.log().join("audit.key"));
    std::fs::rename(&own, &key).expect("moved");
    chown(&key, Some(0), Some(SERVICE)).expect("chown");
    chown(secret.path(), Some(0), Some(SERVICE)).expect("chown");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
    };
    mode(secret.path(), 0o750);
    let settings = format!("key_path = {:?}\n{SETTINGS}", key.to_str().expect("utf-8"));
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("written");
    for (bits, taken) in [(0o440, true), (0o640, true), (0o444, false), (0o460, false)] {
        mode(&key, bits);
        let (code, said) = as_service(&dir, &["record", "--type", "e"]);
        assert_eq!(code == 0, taken, "{bits:o}: {said}");
        assert!(taken || said.contains("0640"), "{bits:o}: {said}");
    }
    mode(&key, 0o440);
    let (_, said) = as_service(&dir, &["validate", "--quick"]);
    assert!(!said.contains("the signing key may be read by others"), "{said}");
    let (code, said) = as_service(&dir, &["verify"]);
    assert_eq!(code, 0, "{said}");
}

/// C15.
#[test]
fn a_manager_with_an_abstract_socket_is_told() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let dir = Dir::new();
    let name = format!("auditctl-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let notify = UnixDatagram::bind_addr(&address).expect("bind");
    notify.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("timeout");
    let at = format!("@{name}");
    let env = [("NOTIFY_SOCKET", at.as_str()), ("WATCHDOG_USEC", "600000")];
    let mut collector = Serving::start_with(&dir, "", &[], &env);
    for wanted in ["READY=1", "WATCHDOG=1"] {
        let mut buffer = [0; 4096];
        loop {
            let count = notify.recv(&mut buffer).expect(wanted);
            if std::str::from_utf8(&buffer[..count]).expect("text").contains(wanted) {
                break;
            }
        }
    }
    collector.signal(rustix::process::Signal::TERM);
    assert_eq!(collector.wait().code(), Some(0));
}

/// C15.
#[test]
fn a_time_that_is_finer_than_a_records_is_kept_as_it_was_given() {
    let dir = Dir::new();
    let line =
        r#"{"event_type":"e","timestamp":"2026-02-04T21:09:40.123456789Z","details":{"x":1}}"#;
    std::fs::write(dir.path().join("in"), format!("{line}\n")).expect("written");
    let (code, out, err) = run(&dir, &["record", "--file", "in"]);
    assert_eq!(code, 0, "{out}{err}");
    let (_, out, _) = run(&dir, &["query", "--type", "e", "--format", "ndjson"]);
    assert!(out.contains(r#""timestamp":"2026-02-04T21:09:40.123456Z""#), "{out}");
    let kept = r#""details":{"x":1,"timestamp_exact":"2026-02-04T21:09:40.123456789Z"}"#;
    assert!(out.contains(kept), "{out}");
    let line = r#"{"event_type":"e","timestamp":"2026-02-04T21:09:60Z"}"#;
    std::fs::write(dir.path().join("in"), format!("{line}\n")).expect("written");
    let (code, out, err) = run(&dir, &["record", "--file", "in"]);
    assert!(code != 0 && err.contains("23:59:60"), "{out}{err}");
}
