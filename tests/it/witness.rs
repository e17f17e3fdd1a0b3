//! `auditctl witness` and the collector that has its checkpoints cosigned: real processes
//! on both sides.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use auditctl::audit::keys::checkpoint::{Note, SignedCheckpoint};
use auditctl::audit::keys::cosignature::WitnessKey;
use auditctl::audit::read::verify::prove_growth;
use auditctl::fsio::{OsFs, SharedFs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::serving::{Serving, refuses_to_start};
use crate::support::{Dir, PATIENCE, auditctl, eventually, json, ok, records, run};

pub(crate) const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;

/// A running `auditctl witness`, killed when dropped.
pub(crate) struct Witness {
    child: Child,
    pub(crate) http: SocketAddr,
    stderr: Arc<Mutex<String>>,
}

impl Witness {
    /// In the test's directory, with its log in `witness`, for the logs in `accepted`.
    pub(crate) fn start(dir: &Dir, args: &[&str]) -> Self {
        let mut command = auditctl(dir, &["--log-dir", "witness", "witness"]);
        if !args.contains(&"--http") {
            command.args(["--http", "127.0.0.1:0"]);
        }
        command.args(["--accept", "accepted", "--name", "witness.example/w1"]).args(args);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let stderr = Arc::new(Mutex::new(String::new()));
        let ready = loop {
            let mut line = String::new();
            let read = lines.read_line(&mut line).expect("stderr");
            stderr.lock().expect("not poisoned").push_str(&line);
            assert!(read > 0, "it ended: {}", stderr.lock().expect("not poisoned"));
            if line.contains("ready:") {
                break line;
            }
        };
        let more = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                more.lock().expect("not poisoned").push_str(&line);
                line.clear();
            }
        });
        let address = ready.split("http://").nth(1).and_then(|rest| rest.split(',').next());
        let http = address.expect(&ready).parse().expect("an address");
        Self { child, http, stderr }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    fn stderr(&self) -> String {
        self.stderr.lock().expect("not poisoned").clone()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal");
    }

    fn terminate(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().expect("ended").success(), "{}", self.stderr());
    }

    fn kill_nine(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A whole request: status, headers, body.
fn http(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.write_all(request).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("response");
    let (head, body) = response.split_once("\r\n\r\n").expect(&response);
    let status = head.split(' ').nth(1).expect(head).parse().expect("status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn add_checkpoint(address: SocketAddr, body: &str) -> (u16, String, String) {
    let request = format!(
        "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    http(address, request.as_bytes())
}

/// A log with so many more events; its newest checkpoint.
pub(crate) fn grow(dir: &Dir, events: usize) -> String {
    let lines = format!("{EVENT}\n").repeat(events);
    std::fs::write(dir.path().join("events"), lines).expect("written");
    ok(dir, &["record", "--file", "events"]);
    ok(dir, &["checkpoint"])
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).expect("a size").parse().expect("a number")
}

/// A request of the log in `logs`, from that size to its newest checkpoint.
fn request(dir: &Dir, old: u64, note: &str) -> String {
    use base64::Engine as _;
    let fs: SharedFs = Arc::new(OsFs);
    let signed = SignedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
    let proof = match old {
        0 => Vec::new(),
        old => prove_growth(&fs, &dir.log(), old, &signed).expect("a proof").consistency_proof,
    };
    let engine = base64::engine::general_purpose::STANDARD;
    let lines: String = proof.iter().map(|hash| engine.encode(hash.as_bytes()) + "\n").collect();
    format!("old {old}\n{lines}\n{note}")
}

/// The witness's operator gets the log's key.
pub(crate) fn accepted(dir: &Dir) {
    std::fs::copy(dir.log().join("audit.pub"), dir.path().join("accepted")).expect("copied");
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// A policy in `policy` that asks for this witness.
fn policy(dir: &Dir, witness: &Witness) -> WitnessKey {
    policy_at(dir, &format!("{}/", witness.url()))
}

/// The same, at that address.
pub(crate) fn policy_at(dir: &Dir, url: &str) -> WitnessKey {
    let key = ok(dir, &["--log-dir", "witness", "witness", "--show-key"]);
    let text = format!("witness w1 {} {url}\nquorum w1\n", key.trim());
    std::fs::write(dir.path().join("policy"), text).expect("written");
    key.parse().expect("a key")
}

pub(crate) const SETTINGS: &str =
    "[witness]\npolicy = \"policy\"\ninterval = \"1s\"\n[health]\nwitness_age_warn = \"1h\"\n";

fn cosigned(dir: &Dir) -> PathBuf {
    dir.log().join("audit.cosigned")
}

pub(crate) fn cosigned_size(dir: &Dir) -> u64 {
    std::fs::read_to_string(cosigned(dir)).map_or(0, |note| size(&note))
}

pub(crate) fn health(dir: &Dir) -> Value {
    let (_, report) = json(dir, &["health"]);
    let checks = report["checks"].as_array().expect("checks").clone();
    checks.into_iter().find(|check| check["component"] == "witness").expect("the check")
}

#[test]
fn a_collector_has_its_checkpoints_cosigned_and_anybody_can_check_that() {
    let dir = Dir::new();
    grow(&dir, 3);
    accepted(&dir);
    let witness = Witness::start(&dir, &[]);
    let key = policy(&dir, &witness);
    // Nobody has been asked yet.
    let (code, out, _) = run(&dir, &["verify", "--policy", "policy"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("NOT WITNESSED") && out.contains("no_quorum"), "{out}");
    assert_eq!(run(&dir, &["prove", "2", "--cosigned"]).0, 3);

    let collector = Serving::start(&dir, SETTINGS);
    let mut peer = collector.connect();
    let seq = peer.ask(EVENT)["ok"]["seq"].as_u64().expect("a seq");
    eventually("the event is cosigned", || cosigned_size(&dir) > seq);
    let note = std::fs::read_to_string(cosigned(&dir)).expect("read");
    let note = Note::parse(note.as_bytes()).expect("a note");
    assert!(key.cosigned_at(&note).expect("good").is_some());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(cosigned(&dir)).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    eventually("health knows", || health(&dir)["status"] == "healthy");
    let metrics = collector.get("/metrics", "").2;
    assert!(metrics.contains("witness"), "{metrics}");

    // The log, a proof, a checkpoint: all say by whom.
    let (code, report) = json(&dir, &["verify", "--policy", "policy"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["witnessed"]["quorum_met"], true);
    assert_eq!(report["witnessed"]["witnesses"][0]["standing"], "cosigned");
    assert_eq!(report["completeness"], "anchored");
    // What nobody but the log vouches for is counted, and a quorum has an age.
    assert!(report["witnessed"]["quorum_at"].is_string(), "{report}");
    let covered = report["witnessed"]["tree_size"].as_u64().expect("a size");
    let size = report["tree_size"].as_u64().expect("a size");
    assert_eq!(report["witnessed"]["log_alone"], size - covered, "{report}");
    ok(&dir, &["verify", "--policy", "policy", "--cosigned-within", "1h"]);
    eventually("a second is over", || {
        let within = ["verify", "--policy", "policy", "--cosigned-within", "1s"];
        let (code, report) = json(&dir, &within);
        let old = report["findings"][0]["kind"] == "quorum_old";
        assert_eq!(code, i32::from(old), "{report}");
        old
    });
    let kept = cosigned(&dir);
    let kept = kept.to_str().expect("utf-8");
    let elsewhere = Dir::new();
    let name = |name: &str| dir.path().join(name).to_str().expect("utf-8").to_owned();
    let check = ["verify", kept, "--public-key", &name("accepted"), "--policy", &name("policy")];
    let (code, report) = json(&elsewhere, &[&check[..], &["--cosigned-within", "1s"]].concat());
    assert_eq!((code, &report["findings"][0]["kind"]), (1, &"quorum_old".into()), "{report}");
    std::fs::write(dir.path().join("nobody"), "quorum none\n").expect("written");
    let nobody = ["verify", "--policy", "nobody", "--cosigned-within", "1h"];
    assert_eq!(run(&dir, &nobody).0, 2);
    for format in ["json", "tlog-proof"] {
        let file = format!("proof.{format}");
        let seq = seq.to_string();
        ok(&dir, &["prove", &seq, "--cosigned", "--format", format, "--output", &file]);
        let check = ["verify", "--proof", &file, "--public-key", "accepted", "--policy", "policy"];
        assert!(ok(&dir, &check).contains("quorum met"));
        let (code, report) = json(&dir, &check);
        assert_eq!((code, &report["witnessed"]["quorum_met"]), (0, &Value::Bool(true)));
    }
    ok(&dir, &["prove", &seq.to_string(), "--output", "plain"]);
    let (code, _, err) = run(&dir, &["verify", "--proof", "plain", "--policy", "policy"]);
    assert!(code == 1 && err.contains("did not cosign"), "{code} {err}");
    let elsewhere = Dir::new();
    let kept = cosigned(&dir);
    let [kept, key_file, policy_file] = [
        kept.to_str(),
        dir.path().join("accepted").to_str().map(str::to_owned).as_deref(),
        dir.path().join("policy").to_str().map(str::to_owned).as_deref(),
    ]
    .map(|path| path.expect("utf-8").to_owned());
    let check = ["verify", &kept, "--public-key", &key_file, "--policy", &policy_file];
    assert!(ok(&elsewhere, &check).contains("quorum met"));

    // A backup has it too.
    ok(&dir, &["backup"]);
    let metadata = std::fs::read_dir(dir.path().join("backups/audit")).expect("listed").flatten();
    let mut metadata = metadata.map(|entry| entry.path());
    let metadata = metadata.find(|path| path.to_string_lossy().contains("audit_backup_"));
    let metadata = metadata.map(|path| path.with_extension("json"));
    let metadata = metadata.expect("metadata");
    let held = std::fs::read(&metadata).expect("read");
    let held: Value = serde_json::from_slice(&held).expect("JSON");
    assert!(held["cosigned"].as_str().expect("a note").contains("witness.example/w1"));
    let aside = dir.path().join("aside");
    std::fs::rename(cosigned(&dir), &aside).expect("moved");
    let from_backup = metadata.to_str().expect("utf-8");
    ok(&dir, &["verify", "--policy", "policy", "--against", from_backup]);
    std::fs::rename(&aside, cosigned(&dir)).expect("moved back");

    // An older cosigned checkpoint in its place is one all the same, and says how far it goes;
    // one that was altered is none.
    collector.terminate();
    let mut text = std::fs::read_to_string(cosigned(&dir)).expect("read");
    let at = text.len() - 5;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    text.replace_range(at..=at, other);
    std::fs::write(cosigned(&dir), text).expect("written");
    let (code, report) = json(&dir, &["verify", "--policy", "policy"]);
    assert_eq!((code, &report["witnessed"]["witnesses"][0]["standing"]), (1, &"wrong".into()));
    // The next start has it cosigned again.
    let collector = Serving::start(&dir, SETTINGS);
    eventually("it is cosigned", || run(&dir, &["verify", "--policy", "policy"]).0 == 0);
    collector.terminate();
    witness.terminate();
    // The witness's own log says what it did.
    let own = records(&dir.path().join("witness"));
    let of = |kind: &str| own.iter().filter(|(_, r)| r["event_type"] == kind).count();
    assert!(of("audit.cosigned") >= 2 && of("audit.cosigning_refused") == 0);
    ok(&dir, &["--log-dir", "witness", "verify"]);
}

#[test]
fn a_witness_that_is_away_delays_nothing_and_is_told_and_caught_up_with() {
    let dir = Dir::new();
    grow(&dir, 1);
    accepted(&dir);
    let witness = Witness::start(&dir, &[]);
    policy(&dir, &witness);
    let address = witness.http;
    witness.kill_nine();
    let collector = Serving::start(&dir, SETTINGS);
    let mut peer = collector.connect();
    for _ in 0..20 {
        assert!(peer.ask(EVENT)["ok"]["seq"].is_u64());
    }
    eventually("it is told", || collector.stderr().contains("[witness_failing]"));
    eventually("health tells", || health(&dir)["code"] == "witness.behind");
    assert!(!cosigned(&dir).exists());
    let _witness = Witness::start(&dir, &["--http", &address.to_string()]);
    eventually("it is cosigned", || cosigned_size(&dir) > 20);
    eventually("that is told", || collector.stderr().contains("w1 cosigns again"));
    assert_eq!(collector.stderr().matches("[witness_failing]").count(), 1);
}

#[test]
fn a_witness_that_does_not_know_the_log_is_told_of_it_while_it_runs() {
    let dir = Dir::new();
    grow(&dir, 1);
    std::fs::write(dir.path().join("accepted"), "# nobody yet\n").expect("written");
    let witness = Witness::start(&dir, &[]);
    policy(&dir, &witness);
    let note = ok(&dir, &["checkpoint"]);
    assert_eq!(add_checkpoint(witness.http, &request(&dir, 0, &note)).0, 404);
    std::fs::write(dir.path().join("accepted"), "nonsense\n").expect("written");
    witness.signal(Signal::HUP);
    eventually("it keeps what it had", || witness.stderr().contains("[settings_kept]"));
    accepted(&dir);
    witness.signal(Signal::HUP);
    eventually("it reads again", || witness.stderr().contains("1 accepted"));
    assert_eq!(add_checkpoint(witness.http, &request(&dir, 0, &note)).0, 200);
}

#[test]
fn a_log_that_was_rolled_back_is_found_by_its_witness_and_by_what_was_cosigned() {
    let dir = Dir::new();
    grow(&dir, 3);
    accepted(&dir);
    let witness = Witness::start(&dir, &[]);
    policy(&dir, &witness);
    let old = dir.path().join("old");
    copy_dir(&dir.log(), &old);
    let collector = Serving::start(&dir, SETTINGS);
    let mut peer = collector.connect();
    for _ in 0..10 {
        peer.ask(EVENT);
    }
    eventually("it is cosigned", || cosigned_size(&dir) > 10);
    collector.terminate();

    // An old copy of the log, beside the cosigned checkpoint: known before it starts.
    let kept = std::fs::read(cosigned(&dir)).expect("read");
    std::fs::remove_dir_all(dir.log()).expect("removed");
    copy_dir(&old, &dir.log());
    std::fs::write(cosigned(&dir), kept).expect("written");
    let (code, said) = refuses_to_start(&dir, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("audit.cosigned"), "{said}");

    // Without it only the witness knows, and proves it with its own copy.
    std::fs::remove_file(cosigned(&dir)).expect("removed");
    let collector = Serving::start(&dir, SETTINGS);
    eventually("it is told", || collector.stderr().contains("[witness_ahead]"));
    assert!(collector.connect().ask(EVENT)["ok"]["seq"].is_u64(), "events are taken");
    eventually("health tells", || health(&dir)["code"] == "witness.ahead");
    let (code, report) = json(&dir, &["health"]);
    assert_eq!((code, &report["status"]), (2, &"critical".into()));
    let codes: Vec<_> =
        report["checks"].as_array().expect("checks").iter().map(|c| &c["code"]).collect();
    assert!(codes.contains(&&"backup.snapshot_restored".into()), "{codes:?}");
    let evidence = std::fs::read_dir(dir.log()).expect("listed").flatten();
    let evidence: Vec<_> = evidence
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("audit.witness.ahead-"))
        .collect();
    assert_eq!(evidence.len(), 1);
    let text = std::fs::read_to_string(evidence[0].path()).expect("read");
    assert!(text.contains("answered 409") && text.matches("\u{2014} ").count() >= 2, "{text}");
}

#[test]
fn of_two_histories_by_one_key_the_witness_cosigns_one_and_keeps_both() {
    let dir = Dir::new();
    grow(&dir, 3);
    accepted(&dir);
    let twin = Dir::new();
    copy_dir(&dir.log(), &twin.log());
    let witness = Witness::start(&dir, &[]);
    policy(&dir, &witness);
    std::fs::copy(dir.path().join("policy"), twin.path().join("policy")).expect("copied");
    let collector = Serving::start(&dir, SETTINGS);
    collector.connect().ask(EVENT);
    eventually("one is cosigned", || cosigned_size(&dir) > 0);
    collector.terminate();
    let first = cosigned_size(&dir);
    grow(&twin, 40);
    let note = ok(&twin, &["checkpoint"]);
    let (status, _, body) = add_checkpoint(witness.http, &request(&twin, first, &note));
    assert_eq!(status, 422, "{body}");
    let collector = Serving::start(&twin, SETTINGS);
    eventually("the other is told", || collector.stderr().contains("[witness_contradicted]"));
    eventually("health tells", || health(&twin)["code"] == "witness.contradicted");
    // The witness showed what it had cosigned, and the log's own key had signed that.
    let (_, report) = json(&twin, &["health"]);
    assert!(report.to_string().contains("backup.cloned"), "{report}");
    assert!(!cosigned(&twin).exists());
    collector.terminate();
    witness.terminate();
    let kept = records(&dir.path().join("witness"));
    let refused: Vec<_> =
        kept.iter().filter(|(_, r)| r["event_type"] == "audit.cosigning_refused").collect();
    assert!(!refused.is_empty() && refused[0].1["details"]["reason"] == "not_consistent");
}

#[test]
fn killed_at_any_moment_a_witness_never_answers_for_two_histories() {
    let dir = Dir::new();
    let notes: Vec<String> = (0..4).map(|_| grow(&dir, 5)).collect();
    accepted(&dir);
    // Another history from the first checkpoint on.
    let twin = Dir::new();
    copy_dir(&dir.log(), &twin.log());
    let mut answered: Vec<(u64, String)> = Vec::new();
    let mut old = 0;
    let mut moments = crate::support::Moments::up_to(std::time::Duration::from_millis(20), 7);
    for round in 0..24 {
        let witness = Witness::start(&dir, &[]);
        let note = &notes[(round / 6).min(3)];
        let body = request(&dir, old.min(size(note)), note);
        let address = witness.http;
        let asking = std::thread::spawn(move || {
            // Cut off, or answered.
            let mut stream = TcpStream::connect(address).ok()?;
            let request = format!(
                "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: \
                 {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).ok()?;
            let mut response = String::new();
            stream.read_to_string(&mut response).ok()?;
            Some(response)
        });
        std::thread::sleep(moments.next());
        witness.kill_nine();
        let response = asking.join().expect("no panic").unwrap_or_default();
        moments.happened(response.starts_with("HTTP/1.1 200"));
        if response.starts_with("HTTP/1.1 200") {
            answered.push((size(note), note.clone()));
        }
        // What was answered is known, and nothing less.
        let witness = Witness::start(&dir, &[]);
        let (status, _, body) = add_checkpoint(witness.http, &request(&dir, 0, &notes[3]));
        let known = match status {
            409 => body.trim().parse().expect("a size"),
            200 => size(&notes[3]),
            other => panic!("{other}: {body}"),
        };
        let most = answered.iter().map(|(size, _)| *size).max().unwrap_or(0);
        assert!(known >= most, "round {round}: {known} known, {most} answered");
        old = known;
        witness.kill_nine();
    }
    // No other history gets through.
    grow(&twin, 7);
    let note = ok(&twin, &["checkpoint"]);
    let witness = Witness::start(&dir, &[]);
    add_checkpoint(witness.http, &request(&dir, old, &notes[3]));
    let grown = grow(&dir, 9);
    assert_eq!(add_checkpoint(witness.http, &request(&dir, size(&notes[3]), &grown)).0, 200);
    let (status, _, body) = add_checkpoint(witness.http, &request(&twin, size(&notes[3]), &note));
    assert!(matches!(status, 400 | 409 | 422), "{status} {body}");
}

#[test]
fn a_witness_whose_log_was_lost_or_put_back_does_not_start() {
    let dir = Dir::new();
    let note = grow(&dir, 3);
    accepted(&dir);
    let witness = Witness::start(&dir, &["--key", "w.key"]);
    assert_eq!(add_checkpoint(witness.http, &request(&dir, 0, &note)).0, 200);
    witness.terminate();
    let start = |more: &[&str]| {
        let args = ["--log-dir", "witness", "witness", "--http", "127.0.0.1:0", "--key", "w.key"];
        run(&dir, &[&args[..], &["--accept", "accepted"], more].concat())
    };
    // Restored from a backup that lacks what was cosigned last.
    ok(&dir, &["--log-dir", "witness", "backup"]);
    let witness = Witness::start(&dir, &["--key", "w.key"]);
    let grown = grow(&dir, 3);
    assert_eq!(add_checkpoint(witness.http, &request(&dir, size(&note), &grown)).0, 200);
    witness.terminate();
    ok(&dir, &["--log-dir", "witness", "restore", "latest", "--force"]);
    let (code, _, err) = start(&[]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("was put back"), "{err}");
    // Restored on an empty host, where nothing is set aside and no epoch begins.
    let place = |name: &str| dir.path().join(name);
    std::fs::rename(place("witness"), place("before")).expect("moved");
    ok(&dir, &["--log-dir", "witness", "restore", "latest", "--force"]);
    std::fs::copy(place("before/audit.key"), place("witness/audit.key")).expect("the key");
    let (code, _, err) = start(&[]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("was restored from a backup"), "{err}");
    // Lost.
    std::fs::rename(dir.path().join("witness"), dir.path().join("gone")).expect("moved");
    std::fs::rename(dir.path().join("backups"), dir.path().join("gone-too")).expect("moved");
    let (code, _, err) = start(&[]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("no record of the key"), "{err}");
    let witness = Witness::start(&dir, &["--key", "w.key", "--accept-rollback"]);
    assert_eq!(add_checkpoint(witness.http, &request(&dir, 0, &grown)).0, 200);
}

#[test]
fn what_a_witness_cannot_start_with_is_said() {
    let dir = Dir::new();
    grow(&dir, 1);
    accepted(&dir);
    let start = |args: &[&str]| run(&dir, &[&["--log-dir", "witness", "witness"], args].concat());
    let (code, _, err) = start(&[]);
    assert!(code == 2 && err.contains("--accept"), "{err}");
    let (code, _, err) = start(&["--accept", "accepted"]);
    assert!(code == 2 && err.contains("--name"), "{err}");
    let (code, _, err) = start(&["--accept", "accepted", "--name", "a b"]);
    assert!(code == 2 && err.contains("key name"), "{err}");
    let (code, _, err) = start(&["--accept", "missing", "--name", "w"]);
    assert!(code == 2 && err.contains("missing"), "{err}");
    let key = ok(&dir, &["--log-dir", "witness", "witness", "--show-key", "--name", "w"]);
    assert_eq!(ok(&dir, &["--log-dir", "witness", "witness", "--show-key"]), key);
    let (code, _, err) = start(&["--accept", "accepted", "--name", "other"]);
    assert!(code == 2 && err.contains("w's"), "{err}");
    // The log of a service is none of a witness.
    let (code, _, err) = run(&dir, &["witness", "--accept", "accepted", "--name", "w"]);
    assert!(code == 2 && err.contains("--log-dir"), "{err}");
    assert!(!dir.log().join("witness.key").exists());
}

#[test]
fn hostile_requests_are_answered_within_limits() {
    let dir = Dir::new();
    let note = grow(&dir, 1);
    accepted(&dir);
    let witness = Witness::start(&dir, &[]);
    let large = "x".repeat(300_000);
    assert_eq!(add_checkpoint(witness.http, &large).0, 413);
    assert_eq!(add_checkpoint(witness.http, "").0, 400);
    assert_eq!(add_checkpoint(witness.http, "old 0\n\n\u{0}\n").0, 400);
    let get = |path: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n");
        http(witness.http, text.as_bytes())
    };
    assert_eq!(get("/add-checkpoint").0, 405);
    assert_eq!(get(&format!("/{}/checkpoint", "0".repeat(64))).0, 404);
    assert_eq!(get("/..%2f..%2fetc%2fpasswd/checkpoint").0, 404);
    let (status, _, body) = get("/");
    assert!(status == 200 && body.contains("witness.example/w1+"), "{body}");
    let (status, head, _) = add_checkpoint(witness.http, &request(&dir, 0, &note));
    assert!(status == 200 && head.contains("content-type: text/plain"), "{head}");
    let (status, head, body) = add_checkpoint(witness.http, &request(&dir, 0, &note));
    assert_eq!((status, body), (409, format!("{}\n", size(&note))));
    assert!(head.contains("content-type: text/x.tlog.size"), "{head}");
}

/// A witness that says the same to everybody.
fn answering(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request);
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

#[test]
fn whatever_a_witness_answers_is_told_and_events_are_taken() {
    const LINE: &str = "\u{2014} witness.example/w1 AAAAAAAA\n";
    let cases: &[(&str, &'static str, &str)] = &[
        ("403", "", "not its key"),
        ("404", "", "does not know the log"),
        ("400", "why", "HTTP 400: why"),
        ("500", "", "HTTP 500"),
        ("503", "", "HTTP 503"),
        ("429", "", "HTTP 429"),
        ("302", "", "redirects are not followed"),
        ("200", "", "no cosignature by"),
        ("200", "nonsense\n", "malformed"),
        ("200", LINE, "no cosignature by"),
        ("409", "7\n", "HTTP 409"),
        ("422", "no", "HTTP 422: no"),
    ];
    let dir = Dir::new();
    grow(&dir, 1);
    let mut text = String::new();
    for (at, (status, body, _)) in cases.iter().enumerate() {
        let answer = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\nconnection: close\r\nlocation: \
             http://127.0.0.1:1/\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (address, _) = answering(Box::leak(answer.into_boxed_str()));
        let args = ["witness", "--show-key", "--name", "witness.example/w1"];
        let log = format!("w{at}");
        let key = ok(&dir, &[&["--log-dir", &log], &args[..]].concat());
        text.push_str(&format!("witness w{at} {} http://{address}\n", key.trim()));
    }
    let names: Vec<String> = (0..cases.len()).map(|at| format!("w{at}")).collect();
    text.push_str(&format!("group all-of-them all {}\nquorum all-of-them\n", names.join(" ")));
    std::fs::write(dir.path().join("policy"), text).expect("written");
    let collector = Serving::start(&dir, SETTINGS);
    assert!(collector.connect().ask(EVENT)["ok"]["seq"].is_u64());
    for (at, (status, body, says)) in cases.iter().enumerate() {
        let line = format!("witness w{at}: ");
        eventually(&format!("{status} {body:?} is told"), || {
            collector.stderr().lines().any(|told| told.contains(&line) && told.contains(says))
        });
    }
    assert!(!cosigned(&dir).exists());
    collector.terminate();
}

#[test]
fn a_witness_that_never_answers_keeps_nobody() {
    let dir = Dir::new();
    grow(&dir, 1);
    // Takes the connection, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = silent.local_addr().expect("address");
    let key = ok(&dir, &["--log-dir", "w", "witness", "--show-key", "--name", "w"]);
    let text = format!("witness w {} http://{address}\nquorum w\n", key.trim());
    std::fs::write(dir.path().join("policy"), text).expect("written");
    let collector = Serving::start(&dir, SETTINGS);
    let mut peer = collector.connect();
    for _ in 0..50 {
        assert!(peer.ask(EVENT)["ok"]["seq"].is_u64());
    }
    drop(peer);
    collector.terminate();
}

#[test]
fn a_policy_that_cannot_be_followed_is_refused_at_the_start() {
    let dir = Dir::new();
    grow(&dir, 1);
    let key = ok(&dir, &["--log-dir", "w", "witness", "--show-key", "--name", "w"]);
    let key = key.trim();
    for (text, says) in [
        ("quorum nobody\n".to_owned(), "line 1"),
        ("quorum none\n".to_owned(), "none of the policy's witnesses"),
        (format!("witness w {key}\nquorum w\n"), "none of the policy's witnesses"),
        (format!("witness w {key} ftp://x/\nquorum w\n"), "neither http nor https"),
    ] {
        std::fs::write(dir.path().join("policy"), &text).expect("written");
        std::fs::write(dir.path().join("auditctl.toml"), SETTINGS).expect("written");
        let (code, said) = refuses_to_start(&dir, &[]);
        assert_eq!(code, Some(2), "{text}: {said}");
        assert!(said.contains(says) && said.contains("auditctl.toml"), "{text}: {said}");
    }
}
