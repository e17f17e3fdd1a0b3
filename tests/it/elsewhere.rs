//! Backups in a cloud, seen from a machine that has nothing else, and after the host got
//! another name; and what somebody planted between them.

use std::path::{Path, PathBuf};
use std::process::Command;

use auditctl::backup::{BackupDir, Metadata};
use auditctl::fsio::OsFs;
use serde_json::Value;

use crate::servers::{BUCKET, Kind, assert_no_secret};
use crate::support::{Dir, all_lines, auditctl};

/// A bucket of its own, and what a client has in its environment to reach it.
struct Bucket {
    destination: String,
    variables: Vec<(&'static str, String)>,
}

impl Bucket {
    fn new(test: &str) -> Option<Self> {
        let server = Kind::S3s.server()?;
        let destination = format!("s3://{BUCKET}/elsewhere-{test}-{}", std::process::id());
        Some(Self { destination, variables: Kind::S3s.variables(server.address) })
    }
}

/// A machine, under a name of its own where the kernel lets it have one.
struct Machine<'a> {
    dir: Dir,
    bucket: &'a Bucket,
}

impl<'a> Machine<'a> {
    fn new(bucket: &'a Bucket) -> Self {
        Self { dir: Dir::new(), bucket }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn prepared(&self, mut command: Command) -> (i32, String, String) {
        command
            .envs(self.bucket.variables.iter().map(|(name, value)| (name, value)))
            .env("AUDITCTL_BACKUP_DESTINATION", &self.bucket.destination)
            .env("AUDITCTL_RATE_LIMIT_ENABLED", "false")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let output = command.output().expect("it runs");
        let out = String::from_utf8(output.stdout).expect("utf-8");
        let err = String::from_utf8(output.stderr).expect("utf-8");
        assert_no_secret(&out);
        assert_no_secret(&err);
        (output.status.code().unwrap_or(-1), out, err)
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        self.prepared(auditctl(&self.dir, args))
    }

    /// The same, on a host of that name.
    fn run_as(&self, host: &str, args: &[&str]) -> (i32, String, String) {
        let program = auditctl(&self.dir, args);
        let mut command = Command::new("unshare");
        command.args(["--uts", "--", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host]);
        command.arg(program.get_program()).args(program.get_args());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(program.get_current_dir().unwrap_or(self.dir.path()));
        self.prepared(command)
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        serde_json::from_str(&out).expect(&out)
    }

    /// Runs what was printed, as somebody does who copies it.
    fn copied(&self, command: &str, more: &[&str]) -> (i32, String, String) {
        let words = shlex_split(command);
        assert_eq!(words[0], "auditctl", "{command}");
        let args: Vec<&str> =
            words[1..].iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.run(&args)
    }

    fn record(&self, what: &str, count: usize) {
        let lines: String = (0..count)
            .map(|n| format!("{{\"event_type\":\"{what}\",\"actor\":\"u{n}\"}}\n"))
            .collect();
        std::fs::write(self.path("e.ndjson"), lines).expect("written");
        let (code, _, err) = self.run(&["record", "--file", "e.ndjson"]);
        assert_eq!(code, 0, "{err}");
    }

    fn metadata(&self) -> Vec<Metadata> {
        let dir = BackupDir::new(std::sync::Arc::new(OsFs), &self.path("backups/audit"));
        let found = dir.contents().expect("a list").backups;
        found.into_iter().map(|entry| entry.metadata.expect("metadata")).collect()
    }
}

/// What a shell makes of it; the test's commands have at most single quotes.
fn shlex_split(command: &str) -> Vec<String> {
    let output = Command::new("sh")
        .args(["-c", "eval \"set -- $1\"; printf '%s\\n' \"$@\"", "sh", command])
        .output()
        .expect("sh");
    String::from_utf8(output.stdout).expect("utf-8").lines().map(str::to_owned).collect()
}

fn put(bucket: &Bucket, files: &[(&str, &Path)]) {
    use auditctl::store::{Body, Destination, Environment, Limits, Provider, Put, connect};
    let destination = Destination::parse(Provider::S3, &bucket.destination).expect("a destination");
    let environment: Environment = bucket.variables.iter().cloned().collect();
    let store = connect(Provider::S3, &destination, &Limits::default(), &environment);
    let store = store.expect("a store");
    for (name, path) in files {
        let bytes = std::fs::read(path).expect("read");
        store.put_new(name, Put::new(Body::Bytes(&bytes), "application/gzip")).expect("put");
    }
}

/// B3
#[test]
fn a_machine_with_nothing_sees_whose_backups_there_are_and_gets_the_log_back() {
    let Some(bucket) = Bucket::new("empty") else { return };
    let burnt = Machine::new(&bucket);
    burnt.record("login", 30);
    let made = burnt.json(&["backup"]);
    assert_eq!(made["backup"]["destinations"][0]["state"], "confirmed", "{made}");
    let lines = all_lines(&burnt.dir.log());
    let log_id = made["backup"]["log_id"].as_str().expect("an id").to_owned();

    let bare = Machine::new(&bucket);
    let listed = bare.json(&["list", "--cloud", "s3"]);
    let backup = &listed["backups"][0];
    assert_eq!(backup["log_id"], log_id.as_str(), "{listed}");
    for key in ["host", "newest_record", "age_seconds", "stored_bytes", "restore"] {
        assert!(!backup[key].is_null(), "{key}: {backup}");
    }
    assert_eq!(listed["logs"][0]["log_id"], log_id.as_str(), "{listed}");
    let (code, text, _) = bare.run(&["list", "--cloud", "s3"]);
    assert_eq!(code, 0);
    let host = backup["host"].as_str().expect("a host");
    for shown in ["NEWEST RECORD", &log_id, host, "auditctl restore s3://"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    // Nothing was made here by looking.
    assert!(!bare.dir.log().exists());

    // The command that stands there does it, and so does the short one.
    let command = backup["restore"].as_str().expect("a command");
    let (code, out, err) = bare.copied(command, &["--target", "by-command"]);
    assert_eq!(code, 0, "{command}: {out}{err}");
    let latest = listed["logs"][0]["restore"].as_str().expect("a command");
    let (code, out, err) = bare.copied(latest, &["--force"]);
    assert_eq!(code, 0, "{latest}: {out}{err}");
    for place in [bare.path("by-command"), bare.dir.log()] {
        assert!(lines.starts_with(&all_lines(&place)[..30]), "{}", place.display());
    }
}

/// B3: several logs there, and nobody said which.
#[test]
fn of_several_logs_each_is_named_with_the_command_that_takes_it() {
    let Some(bucket) = Bucket::new("several") else { return };
    let ids: Vec<String> = (0..2)
        .map(|n| {
            let machine = Machine::new(&bucket);
            machine.record(&format!("log{n}"), 5 + n);
            let made = machine.json(&["backup"]);
            made["backup"]["log_id"].as_str().expect("an id").to_owned()
        })
        .collect();
    let bare = Machine::new(&bucket);
    let (code, out, err) = bare.run(&["restore", "latest", "--cloud", "s3", "--json"]);
    assert_eq!(code, 2, "{out}{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["error"]["kind"], "several_logs", "{told}");
    let logs = told["logs"].as_array().expect("logs");
    assert_eq!(logs.len(), 2, "{told}");
    assert!(!bare.dir.log().exists(), "nothing is made for an error");
    for (n, id) in ids.iter().enumerate() {
        let log = logs.iter().find(|log| log["log_id"] == id.as_str()).expect("the log");
        let command = log["restore"].as_str().expect("a command");
        assert!(command.contains("--log"), "{command}");
        let target = format!("there-{n}");
        let (code, out, err) = bare.copied(command, &["--target", &target]);
        assert_eq!(code, 0, "{command}: {out}{err}");
        assert!(
            all_lines(&bare.path(&target)).iter().any(|line| line.contains(&format!("log{n}")))
        );
    }
    // For people: both ids, both commands.
    let (code, _, err) = bare.run(&["restore", "latest", "--cloud", "s3"]);
    assert_eq!(code, 2);
    assert!(ids.iter().all(|id| err.contains(id.as_str())), "{err}");
    assert_eq!(err.matches("auditctl restore latest --log ").count(), 2, "{err}");
    let (code, _, err) = bare.run(&["restore", "latest", "--cloud", "s3", "--log", "00000000"]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("of log 00000000"), "{err}");
}

/// B3: a forger may write to the bucket, and knows the log's id.
#[test]
fn a_planted_backup_of_the_same_id_never_takes_the_logs_place_silently() {
    let Some(bucket) = Bucket::new("planted") else { return };
    let victim = Machine::new(&bucket);
    victim.record("login", 20);
    victim.json(&["backup"]);
    let genuine = victim.metadata().remove(0);
    std::fs::copy(victim.dir.log().join("audit.pub"), victim.path("kept.pub")).expect("kept");

    // A log of the forger's own, under the victim's id, that reaches further.
    let forger = Machine::new(&bucket);
    let key = auditctl::audit::keys::signer::SigningKey::generate(
        genuine.own_keys().expect("keys").newest().name(),
    )
    .expect("a key");
    forger.record("forged", 50);
    let (code, _, err) = forger.run(&["backup", "--local"]);
    assert_eq!(code, 0, "{err}");
    let mut forged = forger.metadata().remove(0);
    forged.log.id.clone_from(&genuine.log.id);
    forged.log.origin.clone_from(&genuine.log.origin);
    forged.log.public_key = key.verifier().to_string();
    forged.log.key_chain.clear();
    forged.previous = None;
    let origin = forged.log.origin.parse().expect("an origin");
    forged.checkpoint = signed_head(&key, &origin, forged.range.tree_size, forged.root_hash);
    forged.sign(&key).expect("signed");
    let text = forged.to_bytes().expect("JSON");
    let sidecar = forger.path("forged.json");
    std::fs::write(&sidecar, text).expect("written");
    let archive = forger.path(&format!("backups/audit/{}", forged.archive.file));
    let folder = format!("evil/{}", &genuine.log.id[..12]);
    put(
        &bucket,
        &[
            (&format!("{folder}/{}", forged.archive.file), &archive),
            (&format!("{folder}/{}", forged.id.metadata()), &sidecar),
        ],
    );

    // Where nothing is known of the log, there are two, and that is said.
    let bare = Machine::new(&bucket);
    let (code, out, _) = bare.run(&["restore", "latest", "--cloud", "s3", "--json"]);
    assert_eq!(code, 2, "{out}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["logs"].as_array().map(Vec::len), Some(2), "{told}");
    assert!(told["error"]["hint"].as_str().expect("a hint").contains("--public-key"), "{told}");
    let by_id = ["restore", "latest", "--cloud", "s3", "--log", &genuine.log.id[..12]];
    assert_eq!(bare.run(&by_id).0, 2, "the id alone does not choose");

    // The kept key does.
    std::fs::copy(victim.path("kept.pub"), bare.path("kept.pub")).expect("copied");
    let with_key = ["restore", "latest", "--cloud", "s3", "--public-key", "kept.pub", "--force"];
    let (code, out, err) = bare.run(&with_key);
    assert_eq!(code, 0, "{out}{err}");
    let lines = all_lines(&bare.dir.log());
    assert!(lines.iter().any(|line| line.contains("login")));
    assert!(!lines.iter().any(|line| line.contains("forged")), "{lines:?}");

    // And where the log is, the planted one is shown as what it is, and pushes nothing out.
    let listed = victim.json(&["list", "--cloud", "s3"]);
    let bad: Vec<&Value> = listed["backups"]
        .as_array()
        .expect("backups")
        .iter()
        .filter(|backup| backup["good"] == false)
        .collect();
    assert_eq!(bad.len(), 1, "{listed}");
    assert!(bad[0]["place"].as_str().expect("a place").contains("evil"), "{listed}");
    assert_eq!(bad[0]["damage_kind"], "bad_signature", "{listed}");
    let plan = victim.json(&["cleanup", "--cloud", "s3", "--keep", "1", "--dry-run"]);
    assert_eq!(plan["remove"].as_array().map(Vec::len), Some(0), "{plan}");
    assert_eq!(plan["left_alone"].as_array().map(Vec::len), Some(1), "{plan}");
}

fn signed_head(
    key: &auditctl::audit::keys::signer::SigningKey,
    origin: &auditctl::audit::keys::checkpoint::Origin,
    size: u64,
    root: auditctl::audit::tree::merkle::Hash,
) -> String {
    use base64::Engine as _;
    let root = base64::engine::general_purpose::STANDARD.encode(root.as_bytes());
    key.sign_checkpoint(format!("{origin}\n{size}\n{root}\n")).expect("signed").to_string()
}

/// B3, B11: a renamed host, and a pod with a new name each day.
#[test]
fn after_the_host_got_another_name_everything_of_the_log_is_seen_and_cleaned_up() {
    if Command::new("unshare").args(["--uts", "true"]).status().map_or(true, |done| !done.success())
    {
        crate::support::skipped("only root");
        return;
    }
    let Some(bucket) = Bucket::new("renamed") else { return };
    let machine = Machine::new(&bucket);
    for host in ["web-old", "web-new", "pod-7f9c"] {
        machine.record(host, 4);
        let (code, out, err) = machine.run_as(host, &["backup", "--json"]);
        assert_eq!(code, 0, "{host}: {out}{err}");
    }
    let count = |document: &Value| document["backups"].as_array().map(Vec::len);
    let listed = machine.json(&["list", "--cloud", "s3"]);
    assert_eq!(count(&listed), Some(3), "{listed}");
    let hosts: Vec<&str> = listed["backups"]
        .as_array()
        .expect("backups")
        .iter()
        .map(|backup| backup["host"].as_str().expect("a host"))
        .collect();
    assert_eq!(hosts, ["pod-7f9c", "web-new", "web-old"], "the newest first");
    // An id of another host's is found.
    let oldest = listed["backups"][2]["id"].as_str().expect("an id").to_owned();
    machine.json(&["restore", &oldest, "--cloud", "s3", "--target", "old"]);
    assert!(all_lines(&machine.path("old")).iter().any(|line| line.contains("web-old")));

    let (code, text, err) = machine.run(&["cleanup", "--cloud", "s3", "--keep", "2"]);
    assert_eq!(code, 0, "{text}{err}");
    assert!(text.contains("(host web-old)"), "{text}");
    let left = machine.json(&["list", "--cloud", "s3"]);
    assert_eq!(count(&left), Some(2), "{left}");
    assert!(!left.to_string().contains("\"web-old\""), "{left}");
}

/// F5: the settings' destination is where every backup goes, and each command says it.
#[test]
fn a_destination_in_the_settings_means_the_same_everywhere() {
    let Some(bucket) = Bucket::new("settings") else { return };
    let machine = Machine::new(&bucket);
    machine.record("login", 5);
    let made = machine.json(&["backup"]);
    assert_eq!(made["backup"]["destinations"][0]["state"], "confirmed", "{made}");
    machine.record("login", 5);
    let local = machine.json(&["backup", "--local"]);
    assert_eq!(local["backup"]["destinations"], Value::Array(Vec::new()), "{local}");
    let dry = machine.json(&["backup", "--dry-run"]);
    assert!(dry.to_string().contains(&bucket.destination), "{dry}");

    let (_, text, _) = machine.run(&["list"]);
    assert!(text.contains(&bucket.destination) && text.contains("--cloud s3"), "{text}");
    let (_, _, note) = machine.run(&["cleanup", "--keep", "9"]);
    assert!(note.contains(&bucket.destination), "{note}");
    let bare = Machine::new(&bucket);
    let (code, _, hint) = bare.run(&["restore", "latest", "--force"]);
    assert_eq!(code, 3, "{hint}");
    assert!(hint.contains("auditctl restore latest --cloud s3"), "{hint}");
    // B13
    assert!(!bare.dir.log().exists(), "what is not there makes no log directory");

    // A bucket that says not whose it is, is no destination.
    let named = |args: &[&str]| {
        let mut command = auditctl(&machine.dir, args);
        command
            .env("AUDITCTL_BACKUP_DESTINATION", "acme-audit")
            .env("AUDITCTL_RATE_LIMIT_ENABLED", "false");
        command.output().expect("it runs")
    };
    let before = machine.metadata().len();
    let refused = named(&["backup"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("names no provider") && said.contains("s3://"), "{said}");
    assert_eq!(machine.metadata().len(), before, "and nothing was made");
    assert_eq!(named(&["backup", "--local"]).status.code(), Some(0));
    let flag = machine.run(&["backup", "--destination", "acme-audit"]);
    assert_eq!(flag.0, 2, "{}", flag.2);
}

/// F7: what a check found is known to the next list, and the hint of an upload that failed is
/// the whole command.
#[test]
fn a_check_is_remembered_and_a_failed_upload_names_the_whole_command() {
    let Some(bucket) = Bucket::new("remembered") else { return };
    let machine = Machine::new(&bucket);
    machine.record("login", 5);
    machine.json(&["backup"]);
    let verified = |args: &[&str]| {
        let listed = machine.json(args);
        listed["backups"][0]["verified"].as_str().map(str::to_owned)
    };
    assert_ne!(verified(&["list", "--cloud", "s3"]).as_deref(), Some("chain"));
    let asked = verified(&["list", "--cloud", "s3", "--verify=chain"]);
    assert_eq!(asked.as_deref(), Some("chain"));
    assert_eq!(verified(&["list", "--cloud", "s3"]).as_deref(), Some("chain"));

    machine.record("more", 1);
    // Ids are seconds, and the other directory does not know the first one's.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let elsewhere = machine.path("other backups");
    let nowhere = "s3://no-such-bucket-here/x";
    let args = ["backup", "--output-dir", elsewhere.to_str().expect("utf-8")];
    let (code, out, err) =
        machine.run(&[&args[..], &["--destination", nowhere, "--json"]].concat());
    assert_eq!(code, 3, "{out}{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let hint = told["error"]["hint"].as_str().expect("a hint");
    let command = hint.split('`').find(|part| part.starts_with("auditctl backup --resume"));
    let command = command.unwrap_or_else(|| panic!("{hint}"));
    assert!(command.contains(nowhere), "{command}");
    // To where it should have gone: the rest of the command is as it stands there.
    let right = command.replace(nowhere, &bucket.destination);
    let (code, out, err) = machine.copied(&right, &[]);
    assert_eq!(code, 0, "{right}: {out}{err}");
    // B6: and with that the warning is over.
    let mut command = auditctl(&machine.dir, &["health", "--json"]);
    command.env("AUDITCTL_BACKUP_OUTPUT_DIR", &elsewhere);
    let health = String::from_utf8(command.output().expect("it runs").stdout).expect("utf-8");
    assert!(!health.contains("backup.unsent"), "{health}");
}

/// F11: where nothing is new, the store is asked whether it has the backup that holds
/// everything; it is sent where not.
#[test]
fn what_holds_everything_is_sent_where_it_is_not_and_not_sent_twice() {
    let Some(bucket) = Bucket::new("unchanged") else { return };
    let machine = Machine::new(&bucket);
    machine.record("login", 5);
    let made = machine.json(&["backup", "--local"])["backup"].clone();
    let there = || machine.json(&["list", "--cloud", "s3"])["backups"].as_array().map(Vec::len);
    assert_eq!(there(), Some(0));
    let dry = machine.json(&["backup", "--dry-run"]);
    assert_eq!(dry["dry_run"]["there"]["backups"], 0, "{dry}");
    let sent = machine.json(&["backup"])["backup"].clone();
    assert_eq!((&sent["id"], &sent["nothing_new"]), (&made["id"], &Value::Bool(true)), "{sent}");
    assert_eq!(sent["destinations"][0]["state"], "confirmed", "{sent}");
    assert!(sent["destinations"][0]["already_there"].is_null(), "{sent}");
    assert_eq!(there(), Some(1));
    let again = machine.json(&["backup"])["backup"].clone();
    assert_eq!(again["destinations"][0]["already_there"], true, "{again}");
    assert_eq!(there(), Some(1));
    let dry = machine.json(&["backup", "--dry-run"]);
    assert_eq!(dry["dry_run"]["there"]["newest"], made["id"], "{dry}");
    // The dry run asks: a bucket that is not there is told.
    let args = ["backup", "--dry-run", "--destination", "s3://no-such-bucket-here/x"];
    assert_eq!(machine.run(&args).0, 3);
}

/// G5, in a cloud.
#[cfg(feature = "encryption")]
#[test]
fn an_encrypted_archive_in_a_cloud_is_restored_without_its_metadata() {
    use age::secrecy::ExposeSecret;
    let Some(bucket) = Bucket::new("alone") else { return };
    let machine = Machine::new(&bucket);
    machine.record("login", 30);
    let key = age::x25519::Identity::generate();
    let identity = machine.path("identity");
    std::fs::write(&identity, key.to_string().expose_secret()).expect("written");
    auditctl::fsio::os::set_mode(&identity, 0o600).expect("private");
    let public = key.to_public().to_string();
    let made = machine.json(&["backup", "--local", "--encrypt-to", &public])["backup"].clone();
    let file = made["file"].as_str().expect("a file").to_owned();
    let path = machine.dir.path().join(&file);
    let name = path.file_name().expect("a name").to_str().expect("utf-8").to_owned();
    let folder = format!("host/{}", &made["log_id"].as_str().expect("an id")[..12]);
    put(&bucket, &[(&format!("{folder}/{name}"), &path)]);

    let bare = Machine::new(&bucket);
    let listed = bare.json(&["list", "--cloud", "s3"]);
    assert_eq!(listed["orphans"][0], format!("{folder}/{name}").as_str(), "{listed}");
    let command = listed["orphan_commands"][0]["restore"].as_str().expect("a command");
    assert!(command.ends_with("--identity FILE"), "{command}");
    let command = command.replace("FILE", identity.to_str().expect("utf-8"));
    let (code, out, err) = bare.copied(&command, &["--target", "there"]);
    assert_eq!(code, 0, "{command}: {out}{err}");
    let lines = all_lines(&bare.path("there"));
    assert!(all_lines(&machine.dir.log()).starts_with(&lines[..30]));
    // Without the key nobody reads it, and that is said.
    let url = format!("{}/{folder}/{name}", bucket.destination);
    let (code, _, err) = bare.run(&["restore", &url, "--target", "none"]);
    assert!(code == 2 && err.contains("--identity"), "{code} {err}");
}
