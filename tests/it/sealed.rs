//! Encrypted backups: what is in them is on no disk but the log's own, whatever moment the
//! program dies at; and they are restored without their metadata.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use age::secrecy::ExposeSecret;
use auditctl::backup::{Extent, KeyFile, RestoreRequest, Target, Wish};
use auditctl::fsio::OsFs;
use auditctl::fsio::os::set_mode;

use crate::backups::{Home, names, wanted};
use crate::support::{Moments, all_lines, auditctl};

/// In every record, so that one block of plain text shows it. What is compressed does not:
/// it is decompressed to be looked at.
const CANARY: &str = "canary-3f9c1d";

struct Keys {
    public: String,
    file: PathBuf,
}

fn keys(dir: &Path) -> Keys {
    let key = age::x25519::Identity::generate();
    let file = dir.join("identity");
    std::fs::write(&file, key.to_string().expose_secret()).expect("written");
    set_mode(&file, 0o600).expect("private");
    Keys { public: key.to_public().to_string(), file }
}

/// A log of some megabytes that hardly shrink.
fn log_with_canaries(home: &Home) {
    use base64::Engine as _;
    let noise = crate::support::noise(1 << 20);
    let lines: String = noise
        .chunks(6 << 10)
        .map(|bytes| {
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            format!("{{\"event_type\":\"{CANARY}\",\"details\":{{\"d\":\"{text}\"}}}}\n")
        })
        .collect();
    let path = home.dir.path().join("e.ndjson");
    std::fs::write(&path, lines).expect("written");
    let mut command = program(home, &["record", "--file", "e.ndjson"]);
    assert!(command.status().expect("it runs").success());
    std::fs::remove_file(path).expect("removed");
}

fn program(home: &Home, args: &[&str]) -> Command {
    let mut command = auditctl(&home.dir, args);
    let temporary = home.dir.path().join("tmp");
    std::fs::create_dir_all(&temporary).expect("made");
    command
        .env("AUDITCTL_BACKUP_OUTPUT_DIR", home.backups().path())
        .env("AUDITCTL_RATE_LIMIT_ENABLED", "false")
        .env("AUDITCTL_MAX_SEGMENT_SIZE", "256KiB")
        .env("TMPDIR", temporary)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Every file below a directory that shows the canary, also when each of its gzip members
/// is unpacked.
fn shows_canary(dir: &Path, but_for: &[&Path]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries {
        let Ok(path) = entry.map(|entry| entry.path()) else { continue };
        if but_for.contains(&&*path) {
            continue;
        }
        if path.is_dir() {
            found.extend(shows_canary(&path, but_for));
        } else if let Ok(bytes) = std::fs::read(&path)
            && holds_canary(&bytes)
        {
            found.push(path);
        }
    }
    found
}

// One member at a time, since the rest may be cut or be something else.
#[allow(clippy::disallowed_methods)]
fn holds_canary(bytes: &[u8]) -> bool {
    use std::io::Read as _;
    let seen = |bytes: &[u8]| memchr::memmem::find(bytes, CANARY.as_bytes()).is_some();
    // Members may begin anywhere in a file that was cut.
    seen(bytes)
        || memchr::memmem::find_iter(bytes, &[0x1f, 0x8b, 8]).any(|at| {
            let mut head = Vec::new();
            let _ = flate2::read::MultiGzDecoder::new(&bytes[at..])
                .take(64 << 10)
                .read_to_end(&mut head);
            seen(&head)
        })
}

/// G4
#[test]
fn no_plain_text_is_left_by_a_backup_or_a_restore_that_is_killed_at_any_moment() {
    let home = Home::new();
    log_with_canaries(&home);
    let keys = keys(home.dir.path());
    assert!(!shows_canary(&home.log_dir(), &[]).is_empty(), "it would be seen");
    let log_dir = home.log_dir();
    let elsewhere = || shows_canary(home.dir.path(), &[&log_dir]);
    let make = || program(&home, &["backup", "--full", "--encrypt-to", &keys.public]);
    let mut moments = Moments::up_to(Duration::from_millis(400), 7);
    let (mut killed, mut seen_file) = (0, 0);
    for round in 0..24 {
        let mut child = make().spawn().expect("it starts");
        std::thread::sleep(moments.next());
        // While it is at work, too.
        assert_eq!(elsewhere(), Vec::<PathBuf>::new(), "round {round}");
        let ended = child.try_wait().expect("asked").is_some();
        child.kill().expect("killed");
        child.wait().expect("ended");
        moments.happened(ended);
        killed += u32::from(!ended);
        let there = names(home.backups().path());
        seen_file += u32::from(there.iter().any(|name| name.contains(".gz.age")));
        assert_eq!(elsewhere(), Vec::<PathBuf>::new(), "round {round}: {there:?}");
    }
    assert!(killed > 5 && seen_file > 5, "{killed} killed, {seen_file} with a file");
    assert!(make().status().expect("it runs").success());

    // Restoring: nothing but the target ever has it, and a dry run nothing at all.
    let identity = keys.file.to_str().expect("utf-8");
    for (round, dry) in (0..12).map(|round| (round, round % 2 == 0)) {
        let target = home.dir.path().join(format!("target-{round}"));
        let mut args = vec!["restore", "latest", "--identity", identity];
        args.extend(["--target", target.to_str().expect("utf-8")]);
        args.extend(dry.then_some("--dry-run"));
        let mut child = program(&home, &args).spawn().expect("it starts");
        std::thread::sleep(moments.next());
        let _ = child.kill();
        child.wait().expect("ended");
        let mut found = elsewhere();
        found.retain(|path| dry || !path.starts_with(&target));
        assert_eq!(found, Vec::<PathBuf>::new(), "round {round}");
        let _ = std::fs::remove_dir_all(target);
    }
    // A drill restores into the log's directory, where all of it is in the clear anyway.
    for round in 0..6 {
        let args = ["restore", "latest", "--drill", "--identity", identity];
        let mut child = program(&home, &args).spawn().expect("it starts");
        std::thread::sleep(moments.next());
        assert_eq!(elsewhere(), Vec::<PathBuf>::new(), "round {round}");
        let _ = child.kill();
        child.wait().expect("ended");
        assert_eq!(elsewhere(), Vec::<PathBuf>::new(), "round {round}");
    }
    let args = ["restore", "latest", "--drill", "--identity", identity];
    assert!(program(&home, &args).status().expect("it runs").success());
    let left = names(&home.log_dir());
    assert!(left.iter().all(|name| !name.starts_with(".drill-")), "{left:?}");
}

/// G5
#[test]
fn an_encrypted_archive_is_restored_without_its_metadata() {
    let home = Home::new();
    home.record(60);
    let keys = keys(home.dir.path());
    let mut request = home.request();
    request.encrypt_to = vec![keys.public.clone()];
    let made = home.creator().create(&request, &auditctl::backup::Unwatched).expect("made");
    let lines = all_lines(&home.log_dir());
    std::fs::remove_file(&made.metadata_file).expect("lost");
    // It is listed as what it is, with what restores it.
    let list = |more: &[&str]| {
        let mut command = auditctl(&home.dir, &[&["list"], more].concat());
        command.env("AUDITCTL_BACKUP_OUTPUT_DIR", home.backups().path());
        String::from_utf8(command.output().expect("it runs").stdout).expect("utf-8")
    };
    let id = made.metadata.id.to_string();
    let text = list(&[]);
    assert!(text.contains("an encrypted archive without metadata"), "{text}");
    assert!(text.contains(&format!("auditctl restore {id} --identity FILE")), "{text}");
    let json: serde_json::Value = serde_json::from_str(&list(&["--json"])).expect("JSON");
    assert_eq!(json["orphans"][0], made.metadata.archive.file.as_str(), "{json}");

    let identity = KeyFile::read(&OsFs, &keys.file).expect("a key file");
    let restore = |wish: Wish, identities: Vec<KeyFile>, target: &str| {
        let target = Target::Beside(home.dir.path().join(target));
        home.restore_as(&RestoreRequest {
            wish,
            identities,
            target,
            extent: Extent::Whole,
            ..wanted()
        })
    };
    let by_id = || Wish::Id(made.metadata.id);
    let error = restore(by_id(), vec![], "none").expect_err("no key");
    assert!(error.kind() == "usage" && error.to_string().contains("--identity"), "{error}");
    for (wish, target) in [(by_id(), "by-id"), (Wish::Path(made.archive.clone()), "by-path")] {
        restore(wish, vec![identity.clone()], target).expect("restored");
        assert_eq!(
            all_lines(&home.dir.path().join(target)),
            lines[..all_lines(&home.dir.path().join(target)).len()]
        );
    }
    // Every check that the archive itself allows: here, that nobody cut or altered it, and
    // that it is this log's.
    let bytes = std::fs::read(&made.archive).expect("read");
    std::fs::write(&made.archive, &bytes[..bytes.len() - 70_000.min(bytes.len() / 2)])
        .expect("cut");
    assert!(restore(by_id(), vec![identity.clone()], "cut").is_err());
    let mut other = bytes.clone();
    let at = bytes.len() / 2;
    other[at] ^= 1;
    std::fs::write(&made.archive, other).expect("altered");
    assert!(restore(by_id(), vec![identity.clone()], "altered").is_err());
    assert!(!home.dir.path().join("altered").exists(), "nothing is left of it");
    // Made by somebody else, who has the public key too, of a log of that id.
    let forger = Home::new();
    forger.record(9);
    let mut request = forger.request();
    request.encrypt_to = vec![keys.public.clone()];
    let forged = forger.creator().create(&request, &auditctl::backup::Unwatched).expect("made");
    std::fs::copy(&forged.archive, &made.archive).expect("planted");
    let error = home
        .restore_as(&RestoreRequest { wish: by_id(), identities: vec![identity], ..wanted() })
        .expect_err("another log's");
    assert!(error.to_string().contains("is a backup of log"), "{error}");
}
