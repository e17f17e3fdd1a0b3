//! Names in our directories are never followed elsewhere, whoever planted what;
//! and nobody else may read what is made there, whatever the umask.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::support::{Dir, all_lines, auditctl, eventually, root_agrees, run, types};

const PRECIOUS: &str = "not a log's: must stay as it is\n";

/// What somebody puts in a file's place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plant {
    Link,
    Dangling,
    Fifo,
    /// Another name of somebody's file.
    HardLink,
}

const PLANTS: [Plant; 4] = [Plant::Link, Plant::Dangling, Plant::Fifo, Plant::HardLink];

impl Plant {
    fn put(self, path: &Path, victim: &Path) {
        match self {
            Self::Link => symlink(victim, path).expect("link"),
            Self::Dangling => symlink(victim.with_extension("not-there"), path).expect("link"),
            Self::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("fifo"),
            Self::HardLink => fs::hard_link(victim, path).expect("hard link"),
        }
    }
}

/// Runs it; it must end by itself, and not by a signal or a panic.
fn ends(dir: &Dir, args: &[&str]) -> Output {
    let mut command = auditctl(dir, args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("auditctl runs");
    eventually(&format!("{args:?} ends"), || child.try_wait().expect("wait").is_some());
    let output = child.wait_with_output().expect("output");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some() && !stderr.contains("panicked"), "{args:?}: {stderr}");
    output
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// A closed log of a few records.
fn a_log() -> Dir {
    let dir = Dir::new();
    for _ in 0..3 {
        assert!(ends(&dir, &["record", "--type", "login", "--actor", "alice"]).status.success());
    }
    dir
}

#[test]
fn what_is_planted_in_a_log_files_place_is_refused_by_name_or_replaced_and_never_written_through() {
    // Whether opening refuses a link or a FIFO there; what another name has is copied.
    let files = [
        ("audit.log", true),
        ("audit.checkpoint", true),
        ("audit.manifest.json", true),
        ("audit.status", false),
        ("audit.lock", true),
        ("audit.restore.json", true),
        ("audit.pub", false),
        ("audit.reserve", false),
        ("security_events.log", false),
    ];
    for (name, refuses) in files {
        for plant in PLANTS {
            let dir = a_log();
            let (path, kept) = (dir.log().join(name), dir.path().join("kept"));
            let victim = dir.path().join("victim");
            let there = fs::rename(&path, &kept).is_ok();
            fs::write(&victim, PRECIOUS).expect("victim");
            if plant == Plant::HardLink {
                if !there {
                    continue;
                }
                // The same file under a further name, as `cp -al` leaves it.
                fs::copy(&kept, &victim).expect("victim");
            }
            let before = fs::read(&victim).expect("victim");
            plant.put(&path, &victim);
            let what = format!("{plant:?} in the place of {name}");
            // Control characters: there is something for the security log.
            let args = ["record", "--type", "x", "--actor", "a\u{1b}b", "--json"];
            let output = ends(&dir, &args);
            let told = document(&output);
            if refuses && plant != Plant::HardLink {
                assert_eq!(output.status.code(), Some(3), "{what}: {told}");
                assert_eq!(told["error"]["kind"], "io", "{what}");
                let message = told["error"]["message"].as_str().expect("a message");
                let why = if plant == Plant::Fifo { "not a regular file" } else { "symbolic link" };
                assert!(message.contains(name) && message.contains(why), "{what}: {message}");
                fs::remove_file(&path).expect("the plant is still there");
                if there {
                    fs::rename(&kept, &path).expect("put back");
                }
                assert!(ends(&dir, &args).status.success(), "{what}: the log is as it was");
            } else {
                assert!(output.status.success(), "{what}: {told}");
            }
            assert_eq!(fs::read(&victim).expect("victim"), before, "{what}");
            assert!(!victim.with_extension("not-there").exists(), "{what}: written through");
            let events =
                types(&dir.log()).iter().filter(|kind| !kind.starts_with("audit.")).count();
            assert_eq!(events, 4, "{what}");
            root_agrees(&dir.log());
        }
    }
}

#[test]
fn readers_refuse_what_is_planted_and_do_not_wait_for_it() {
    for name in
        ["audit.log", "audit.checkpoint", "audit.manifest.json", "audit.status", "audit.lock"]
    {
        for plant in [Plant::Link, Plant::Fifo] {
            let dir = a_log();
            let path = dir.log().join(name);
            let victim = dir.path().join("victim");
            fs::write(&victim, PRECIOUS).expect("victim");
            fs::remove_file(&path).expect("removed");
            plant.put(&path, &victim);
            for args in [
                &["verify", "--json"][..],
                &["query", "--json"],
                &["health", "--json"],
                &["monitor", "--once", "--json"],
                &["checkpoint"],
                &["backup", "--json"],
                &["prove", "1"],
                &["validate", "--quick", "--json"],
                &["support-bundle", "--output", "-"],
            ] {
                let output = ends(&dir, args);
                let said = [&output.stdout[..], &output.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                assert!(!said.contains("must stay as it is"), "{args:?} {plant:?} {name}: {said}");
            }
            assert_eq!(fs::read_to_string(&victim).expect("victim"), PRECIOUS);
        }
    }
}

#[test]
fn a_directory_chosen_by_the_operator_may_be_a_symbolic_link() {
    let dir = Dir::new();
    let disk = dir.path().join("disk");
    fs::create_dir_all(disk.join("logs")).expect("directory");
    fs::create_dir_all(disk.join("backups")).expect("directory");
    symlink(disk.join("logs"), dir.log()).expect("link");
    symlink(disk.join("backups"), dir.path().join("backups")).expect("link");
    assert_eq!(run(&dir, &["record", "--type", "login"]).0, 0);
    assert_eq!(run(&dir, &["backup"]).0, 0);
    assert_eq!(run(&dir, &["restore", "latest", "--force"]).0, 0);
    assert_eq!(run(&dir, &["verify"]).0, 0);
    assert!(disk.join("logs/audit.log").is_file());
}

/// A directory that is not ours, with a file in it.
fn elsewhere(dir: &Dir) -> PathBuf {
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("directory");
    for name in ["precious", "audit.log", "audit.checkpoint"] {
        fs::write(elsewhere.join(name), PRECIOUS).expect("file");
    }
    elsewhere
}

fn untouched(elsewhere: &Path, what: &str) {
    let mut names: Vec<_> = fs::read_dir(elsewhere).expect(what).flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    assert_eq!(names.len(), 3, "{what}: {names:?}");
    for entry in names {
        assert_eq!(fs::read_to_string(entry.path()).expect(what), PRECIOUS, "{what}");
    }
}

#[test]
fn leftovers_that_are_links_are_removed_and_what_they_point_to_stays() {
    let dir = a_log();
    let elsewhere = elsewhere(&dir);
    symlink(&elsewhere, dir.log().join(".restore-20260101_000000-1")).expect("link");
    assert_eq!(run(&dir, &["record", "--type", "login"]).0, 0);
    untouched(&elsewhere, "a staging directory");
    assert!(dir.log().join(".restore-20260101_000000-1").symlink_metadata().is_err());
    assert_eq!(run(&dir, &["backup"]).0, 0);
    let backups = dir.path().join("backups/audit");
    symlink(&elsewhere, backups.join(".fetch-20260101_000000")).expect("link");
    symlink(elsewhere.join("precious"), backups.join("audit_backup_20260101_000000.gz.tmp-1-1"))
        .expect("link");
    assert_eq!(run(&dir, &["backup"]).0, 0);
    untouched(&elsewhere, "what is fetched");
}

#[test]
fn a_planted_journal_moves_and_removes_nothing() {
    let journal = |staging: &str, aside: &str, old: &str, new: &str| {
        format!(
            r#"{{"type":"auditctl/restore","format":1,"committed":false,"staging":"{staging}","aside":"{aside}","old":["{old}"],"new":["{new}"],
            "manifest_sha256":"{}","restored":{{"backup":"x","restored_at":"2026-01-01T00:00:00Z","uid":0,
            "tree_size":1,"root_hash":"x","relation":"x","set_aside_records":0}}}}"#,
            "0".repeat(64)
        )
    };
    let good = (".restore-x", "before-restore-x", "audit.log", "audit.checkpoint");
    for (staging, aside, old, new) in [
        ("../elsewhere", good.1, good.2, good.3),
        (good.0, "../elsewhere", good.2, good.3),
        ("elsewhere", good.1, good.2, good.3),
        (good.0, good.1, "../elsewhere/precious", good.3),
        (good.0, good.1, good.2, "/etc/passwd"),
        (good.0, good.1, good.2, "audit.key"),
        (good.0, good.1, "..", good.3),
        (".restore-x/../../elsewhere", good.1, good.2, good.3),
    ] {
        let dir = a_log();
        let elsewhere = elsewhere(&dir);
        let key = fs::read(dir.log().join("audit.key")).expect("key");
        fs::write(dir.log().join("audit.restore.json"), journal(staging, aside, old, new))
            .expect("journal");
        let output = ends(&dir, &["record", "--type", "x", "--json"]);
        let told = document(&output);
        assert_eq!(told["error"]["kind"], "corrupt", "{told}");
        let message = told["error"]["message"].as_str().expect("a message");
        assert!(message.contains("audit.restore.json"), "{message}");
        assert!(message.contains("no name that a restore gives"), "{message}");
        untouched(&elsewhere, message);
        assert_eq!(fs::read(dir.log().join("audit.key")).expect("key"), key);
        fs::remove_file(dir.log().join("audit.restore.json")).expect("removed");
        assert_eq!(run(&dir, &["record", "--type", "x"]).0, 0, "the log is as it was");
    }
    // Names that a restore gives, but links in their place.
    let dir = a_log();
    let elsewhere = elsewhere(&dir);
    for name in [good.0, good.1] {
        symlink(&elsewhere, dir.log().join(name)).expect("link");
    }
    let text = journal(good.0, good.1, "audit.log", "audit.00000000000000000009.log.gz");
    fs::write(dir.log().join("audit.restore.json"), text).expect("journal");
    let before = all_lines(&dir.log());
    let output = ends(&dir, &["record", "--type", "x", "--json"]);
    untouched(&elsewhere, "links in place of a restore's directories");
    assert!(all_lines(&dir.log()).starts_with(&before), "{}", document(&output));
}

#[test]
fn links_in_the_backup_directory_lead_nowhere() {
    for suffix in [".json", ".gz", ".catalog.json", "backups.lock"] {
        for plant in [Plant::Link, Plant::Dangling, Plant::Fifo] {
            let dir = a_log();
            assert_eq!(run(&dir, &["backup"]).0, 0);
            let is_backup = suffix == ".json" || suffix == ".gz";
            let start = if is_backup { "audit_backup" } else { suffix };
            let path = fs::read_dir(dir.path().join("backups/audit"))
                .expect("backups")
                .map(|entry| entry.expect("an entry").path())
                .find(|path| {
                    let name = path.file_name().expect("a name").to_string_lossy();
                    name.starts_with(start) && name.ends_with(suffix)
                })
                .expect(suffix);
            let victim = dir.path().join("victim");
            fs::write(&victim, PRECIOUS).expect("victim");
            fs::remove_file(&path).expect("removed");
            plant.put(&path, &victim);
            for args in [
                &["list", "--verify", "--json"][..],
                &["restore", "latest", "--target", "beside", "--json"],
                &["cleanup", "--keep", "1", "--json"],
                &["health", "--json"],
                &["backup", "--json"],
                &["verify", path.to_str().expect("UTF-8"), "--json"],
            ] {
                let output = ends(&dir, args);
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let case =
                    format!("{args:?}, {plant:?} in the place of {}: {said}", path.display());
                assert!(!said.contains("must stay as it is"), "{case}");
                if args[0] == "restore" && is_backup {
                    // No backup, or one that says which file is wrong.
                    assert_ne!(output.status.code(), Some(0), "{case}");
                    assert!(!dir.path().join("beside").exists(), "{case}");
                }
            }
            assert_eq!(fs::read_to_string(&victim).expect("victim"), PRECIOUS, "{suffix}");
            assert!(!victim.with_extension("not-there").exists(), "{suffix}: written through");
        }
    }
}

/// The whole life of a log, in a shell that has set this umask.
fn live(dir: &Dir, umask: &str) {
    fs::write(
        dir.path().join("auditctl.toml"),
        "[collector]\ncheckpoint_push_to = \"pushed/last\"\ncheckpoint_push_interval = \"1s\"\n",
    )
    .expect("settings");
    fs::create_dir(dir.path().join("pushed")).expect("directory");
    fs::write(
        dir.path().join("many.ndjson"),
        "{\"event_type\":\"x\",\"actor\":\"\\u001b\"}\n".repeat(50),
    )
    .expect("events");
    let script = r#"
        set -e
        umask "$1"
        "$2" record --type login >/dev/null
        "$2" record --file many.ndjson >/dev/null
        "$2" serve --http off 2>/dev/null &
        server=$!
        until [ -S logs/audit.sock ]; do sleep 0.05; done
        "$2" record --type login >/dev/null
        kill -TERM $server
        wait $server
        "$2" backup >/dev/null
        "$2" record --type login >/dev/null
        "$2" backup >/dev/null
        "$2" verify --since-last >/dev/null
        "$2" restore latest --target beside/here >/dev/null
        "$2" restore latest --drill >/dev/null
        "$2" record --type login >/dev/null
        "$2" restore latest --force >/dev/null
        "$2" list --verify >/dev/null
        "$2" prove 1 --output proof.json >/dev/null
        "$2" cleanup --keep 1 >/dev/null
        "$2" query >/dev/null
        "$2" validate --quick >/dev/null || [ $? -eq 1 ]
        "$2" support-bundle --output support.tar.gz >/dev/null
        "$2" man --dir pages >/dev/null
    "#;
    let output = std::process::Command::new("sh")
        .args(["-c", script, "life", umask, env!("CARGO_BIN_EXE_auditctl")])
        .env_clear()
        .env("HOME", dir.path())
        .env("PATH", "/usr/bin:/bin")
        .current_dir(dir.path())
        .output()
        .expect("sh");
    assert!(output.status.success(), "umask {umask}: {}", String::from_utf8_lossy(&output.stderr));
}

fn modes(below: &Path, found: &mut Vec<(PathBuf, u32, bool)>) {
    for entry in fs::read_dir(below).expect("a directory") {
        let path = entry.expect("entry").path();
        let meta = path.symlink_metadata().expect("there");
        assert!(meta.is_file() || meta.is_dir() || meta.file_type().is_socket(), "{path:?}");
        found.push((path.clone(), meta.permissions().mode() & 0o7777, meta.is_dir()));
        if meta.is_dir() {
            modes(&path, found);
        }
    }
}

#[test]
fn every_file_of_a_life_is_its_owners_alone_whatever_the_umask() {
    // What the test itself has made.
    const NOT_OURS: [&str; 3] = ["auditctl.toml", "pushed", "many.ndjson"];
    for umask in ["0000", "0022", "0777"] {
        let dir = Dir::new();
        live(&dir, umask);
        let mut found = Vec::new();
        modes(dir.path(), &mut found);
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        found.retain(|(path, ..)| !NOT_OURS.contains(&&*name(path)));
        for (path, mode, is_dir) in &found {
            let wanted = if *is_dir { 0o700 } else { 0o600 };
            assert_eq!(*mode, wanted, "umask {umask}: {} has {mode:o}", path.display());
        }
        let names: Vec<String> = found.iter().map(|(path, ..)| name(path)).collect();
        for wanted in [
            "audit.log",
            "audit.key",
            "audit.pub",
            "audit.lock",
            "audit.status",
            "audit.reserve",
            "audit.checkpoint",
            "audit.manifest.json",
            "security_events.log",
            "last",
            "backups.lock",
            ".catalog.json",
            "proof.json",
            "support.tar.gz",
            "pages",
            "here",
        ] {
            assert!(names.contains(&wanted.to_owned()), "umask {umask}: no {wanted} in {names:?}");
        }
        for start in ["audit_backup_", "audit_drill_", "before-restore-"] {
            assert!(names.iter().any(|name| name.starts_with(start)), "umask {umask}: {start}");
        }
    }
}
