//! `backup`, `list`, `restore`, `cleanup` with `--cloud`, as operators type them,
//! against real servers; and what their usual clients then read there.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::servers::{BUCKET, Kind, LOCKED, assert_no_secret, python};
use crate::support::{Dir, all_lines, auditctl, eventually, run};

/// A machine with a log, whose environment knows a cloud.
struct Host {
    dir: Dir,
    kind: Kind,
    place: String,
    variables: Vec<(&'static str, String)>,
}

impl Host {
    fn with(kind: Kind, test: &str) -> Option<Self> {
        Self::with_bucket(kind, BUCKET, test)
    }

    fn with_bucket(kind: Kind, bucket: &str, test: &str) -> Option<Self> {
        let server = kind.server()?;
        let place = format!("{bucket}/cli-{test}-{}", std::process::id());
        Some(Self { dir: Dir::new(), kind, place, variables: kind.variables(server.address) })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = auditctl(&self.dir, args);
        command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("AUDITCTL_BACKUP_DESTINATION", &self.place)
            .env("AUDITCTL_RATE_LIMIT_ENABLED", "false")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// Exit code, stdout, stderr; none of which may hold a secret.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().expect("auditctl runs");
        let out = String::from_utf8(output.stdout).expect("utf-8");
        let err = String::from_utf8(output.stderr).expect("utf-8");
        assert_no_secret(&out);
        assert_no_secret(&err);
        (output.status.code().unwrap_or(-1), out, err)
    }

    /// The same, which succeeds with a document.
    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.run(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{:?} {args:?}: {out}{err}", self.kind);
        document(&out)
    }

    fn cloud(&self) -> String {
        self.kind.provider().to_string()
    }

    fn record(&self, events: &str) {
        std::fs::write(self.dir.path().join("e.ndjson"), events).expect("written");
        let (code, _, err) = run(&self.dir, &["record", "--file", "e.ndjson"]);
        assert_eq!(code, 0, "{err}");
    }

    fn back_up(&self) -> Value {
        self.json(&["backup", "--cloud", &self.cloud()])["backup"].clone()
    }
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn logins(count: usize) -> String {
    (0..count).map(|n| format!("{{\"event_type\":\"login\",\"actor\":\"u{n}\"}}\n")).collect()
}

/// Events that do not compress: an archive of about so many MiB.
fn bulk(mebibytes: usize) -> String {
    use base64::Engine as _;
    let noise = crate::store_contract::noise(mebibytes << 20);
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    noise
        .chunks(24 << 10)
        .map(|bytes| {
            format!("{{\"event_type\":\"bulk\",\"details\":{{\"d\":\"{}\"}}}}\n", encode(bytes))
        })
        .collect()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} in {value}"))
}

#[test]
fn the_day_of_an_operator_with_each_cloud() {
    for kind in Kind::CLOUDS {
        let Some(host) = Host::with(kind, "day") else { continue };
        let cloud = host.cloud();
        host.record(&logins(50));
        let first = host.back_up();
        assert_eq!(text(&first, "/destinations/0/state"), "confirmed", "{kind:?}: {first}");
        host.record(&logins(50));
        let second = host.back_up();
        let url = text(&second, "/destinations/0/url").to_owned();
        assert!(url.ends_with(".gz") && url.contains(&host.place), "{kind:?}: {url}");

        let listed = host.json(&["list", "--cloud", &cloud, "--verify=chain"]);
        assert_eq!(listed["backups"].as_array().map(Vec::len), Some(2), "{kind:?}: {listed}");
        assert_eq!(listed["backups"][0]["id"], second["id"], "{kind:?}");
        assert_eq!(listed["backups"][0]["verified"], "chain", "{kind:?}: {listed}");
        // What the log notes of the backup itself: opened, backup made, closed.
        assert_eq!(listed["coverage"]["lag_records"], 3, "{kind:?}: {listed}");
        // Here it is known where else they are.
        let here = host.json(&["list"]);
        assert!(here["backups"][0].to_string().contains("confirmed"), "{kind:?}: {here}");

        let whole = all_lines(&host.dir.log());
        let folder = url.rsplit_once('/').expect("a folder").0;
        for (wish, target) in [(url.clone(), "by-url"), (format!("{folder}/latest"), "by-latest")] {
            host.json(&["restore", &wish, "--target", target]);
            let restored = all_lines(&host.dir.path().join(target));
            assert!(restored.len() >= 100 && whole.starts_with(&restored), "{kind:?} {target}");
        }

        let plan = host.json(&["cleanup", "--cloud", &cloud, "--keep", "1", "--dry-run"]);
        assert!(plan.to_string().contains(text(&first, "/id")), "{kind:?}: {plan}");
        assert_eq!(
            host.json(&["list", "--cloud", &cloud])["backups"].as_array().map(Vec::len),
            Some(2)
        );
        host.json(&["cleanup", "--cloud", &cloud, "--keep", "1"]);
        let left = host.json(&["list", "--cloud", &cloud]);
        assert_eq!(left["backups"].as_array().map(Vec::len), Some(1), "{kind:?}: {left}");
        assert_eq!(left["backups"][0]["id"], second["id"], "{kind:?}");
        assert_eq!(host.json(&["list"])["backups"].as_array().map(Vec::len), Some(2), "here all");
        let removed = crate::support::count(&host.dir.log(), "audit.backup_removed");
        assert_eq!(removed, 1, "{kind:?}: each removal is in the log");
    }
}

#[test]
fn the_clients_that_operators_know_read_back_what_was_sent() {
    for kind in Kind::CLOUDS {
        let Some(host) = Host::with(kind, "clients") else { continue };
        let python = python().expect("the servers needed it too");
        host.record(&logins(200));
        let made = host.back_up();
        let archive = host.dir.path().join(text(&made, "/file"));
        let metadata = archive.with_extension("json");
        for (file, media_type) in [(&archive, "application/gzip"), (&metadata, "application/json")]
        {
            let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
            let url = text(&made, "/destinations/0/url");
            let (folder, _) = url.rsplit_once('/').expect("a folder");
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_back.py");
            let output = Command::new(&python)
                .arg(script)
                .args([format!("{folder}/{name}"), media_type.to_owned()])
                .arg(file)
                .envs(host.variables.iter().map(|(name, value)| (name, value)))
                .output()
                .expect("python");
            assert!(
                output.status.success(),
                "{kind:?}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn without_a_destination_nothing_is_made() {
    let dir = Dir::new();
    let (code, _, err) = run(&dir, &["backup", "--cloud", "s3"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--cloud s3 needs a destination"), "{err}");
    assert!(err.contains("AUDITCTL_BACKUP_DESTINATION"), "{err}");
    for lock in ["2020-01-01", "20y", "9999-01-01", "soon"] {
        let args = ["backup", "--cloud", "s3", "--destination", "b", "--retain-until", lock];
        assert_eq!(run(&dir, &args).0, 2, "{lock}");
    }
    for destination in ["", "/x", "a/../b", "s3://a", "A_B"] {
        let args = ["backup", "--cloud", "s3", "--destination", destination];
        assert_eq!(run(&dir, &args).0, 2, "{destination}");
    }
    assert!(!dir.path().join("backups").exists());
}

/// What did not arrive is here all the same, is said to be, and can be sent later.
fn not_sent(host: &Host, variables: &[(&str, &str)], error: &str, words: &str) {
    let cloud = host.cloud();
    let mut command = host.command(&["backup", "--cloud", &cloud, "--json"]);
    for (name, _) in &host.variables {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().expect("auditctl runs");
    let out = String::from_utf8(output.stdout).expect("utf-8");
    let err = String::from_utf8(output.stderr).expect("utf-8");
    let kind = host.kind;
    assert_eq!(output.status.code(), Some(3), "{kind:?}: {out}{err}");
    assert_no_secret(&out);
    assert_no_secret(&err);
    let said = document(&out);
    assert_eq!(said["error"]["kind"], error, "{kind:?}: {said}");
    assert!(said["error"].to_string().contains(words), "{kind:?}: {said}");
    assert_eq!(said["backup"]["local"], "verified", "{kind:?}: {said}");
    assert_eq!(text(&said, "/backup/destinations/0/state"), "failed", "{kind:?}: {said}");
    let id = text(&said, "/backup/id").to_owned();
    assert!(err.contains(&format!("backup resume {id} --cloud {cloud}")), "{kind:?}: {err}");

    let sent = host.json(&["backup", "--resume", &id, "--cloud", &cloud]);
    assert_eq!(text(&sent, "/backup/destinations/0/state"), "confirmed", "{kind:?}: {sent}");
}

#[test]
fn missing_or_refused_credentials_are_exit_3_with_the_backup_that_is_here() {
    for kind in Kind::CLOUDS {
        let Some(host) = Host::with(kind, "credentials") else { continue };
        host.record(&logins(5));
        match kind {
            Kind::Moto => {
                let rest = [("AWS_REGION", "us-east-1")];
                not_sent(&host, &rest, "no_credentials", "AWS_ACCESS_KEY_ID");
                not_sent(&host, &[], "usage", "no AWS region is set");
            }
            Kind::Azurite => {
                not_sent(&host, &[], "no_credentials", "AZURE_STORAGE_CONNECTION_STRING");
                let wrong = host.variables[0].1.replace("Eby8vdM02x", "Eby8vdM02y");
                let wrong = [("AZURE_STORAGE_CONNECTION_STRING", wrong.as_str())];
                // Azure calls it AuthenticationFailed, which is no_credentials.
                not_sent(&host, &wrong, "access_denied", "AuthorizationFailure");
            }
            _ => {
                let file = host.dir.path().join("none.json");
                let file = file.to_str().expect("utf-8").to_owned();
                let missing = [("GOOGLE_APPLICATION_CREDENTIALS", file.as_str())];
                not_sent(&host, &missing, "no_credentials", "GOOGLE_APPLICATION_CREDENTIALS");
            }
        }
    }
    // moto takes any signature.
    let Some(host) = Host::with(Kind::S3s, "credentials") else { return };
    host.record(&logins(5));
    let endpoint = host.variables[3].1.clone();
    let wrong = [
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", "wrong"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_S3", endpoint.as_str()),
    ];
    not_sent(&host, &wrong, "no_credentials", "SignatureDoesNotMatch");
}

#[test]
fn a_missing_bucket_and_a_missing_network_are_exit_3_with_the_backup_that_is_here() {
    let nowhere = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address")
    };
    std::thread::scope(|scope| {
        for kind in Kind::CLOUDS {
            scope.spawn(move || {
                let Some(host) = Host::with(kind, "missing") else { return };
                host.record(&logins(5));
                let args = ["backup", "--cloud", &host.cloud(), "--destination", "no-such-bucket"];
                let (code, out, _) = host.run(&[&args[..], &["--json"]].concat());
                assert_eq!(code, 3, "{kind:?}: {out}");
                assert_eq!(document(&out)["error"]["kind"], "no_bucket", "{kind:?}: {out}");

                let elsewhere = kind.variables(nowhere);
                let elsewhere: Vec<(&str, &str)> =
                    elsewhere.iter().map(|(name, value)| (*name, value.as_str())).collect();
                not_sent(&host, &elsewhere, "unreachable", "network");
            });
        }
    });
}

#[test]
fn p7_an_upload_that_is_killed_or_interrupted_goes_on_where_it_was() {
    // In-process Google and Azurite: what goes there always goes in parts.
    for (kind, kill) in [(Kind::Azurite, true), (Kind::Gcs, true), (Kind::Gcs, false)] {
        let Some(host) = Host::with(kind, if kill { "killed" } else { "interrupted" }) else {
            continue;
        };
        let cloud = host.cloud();
        host.record(&bulk(40));
        let args = ["backup", "--cloud", &cloud, "--limit-upload", "12MiB", "--json"];
        let mut child = host
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("auditctl runs");
        let backups = host.dir.path().join("backups/audit");
        let state = || {
            let entries = std::fs::read_dir(&backups).into_iter().flatten().flatten();
            let file = entries.map(|entry| entry.path()).find(|path| {
                let name = path.to_string_lossy();
                name.contains(".upload-") && !name.contains(".tmp-")
            })?;
            let state: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
            state["stored"].as_u64()
        };
        eventually("a part is there", || state().is_some_and(|stored| stored > 0));
        if kill {
            child.kill().expect("killed");
            child.wait().expect("ended");
        } else {
            let pid = child.id().to_string();
            Command::new("kill").args(["-INT", &pid]).status().expect("kill");
            let output = child.wait_with_output().expect("ended");
            assert_eq!(output.status.code(), Some(130), "{kind:?}");
            let out = String::from_utf8_lossy(&output.stdout);
            assert_eq!(document(&out)["backup"]["local"], "verified", "{kind:?}: {out}");
        }
        let stored = state().expect("how far it is, is kept");
        let there = host.json(&["list", "--cloud", &cloud]);
        assert_eq!(there["backups"].as_array().map(Vec::len), Some(0), "{kind:?}: half of none");

        let id = text(&host.json(&["list"]), "/backups/0/id").to_owned();
        let sent = host.json(&["backup", "--resume", &id, "--cloud", &cloud]);
        let sent = &sent["backup"]["destinations"][0];
        assert_eq!(sent["state"], "confirmed", "{kind:?}: {sent}");
        assert!(
            sent["resumed_from_bytes"].as_u64() >= Some(stored),
            "{kind:?}: {sent} after {stored}"
        );
        assert_eq!(state(), None, "nothing is left of it");
        let there = host.json(&["list", "--cloud", &cloud, "--verify=content"]);
        assert_eq!(there["backups"][0]["verified"], "content", "{kind:?}: {there}");
    }
}

#[test]
fn a_lock_is_applied_and_cleanup_says_that_it_keeps_the_backup() {
    let Some(host) = Host::with_bucket(Kind::Moto, LOCKED, "locked") else { return };
    host.record(&logins(5));
    let lock = ["--retain-until", "30d", "--retain-mode", "compliance"];
    let first = host.json(&[&["backup", "--cloud", "s3"], &lock[..]].concat());
    let until = text(&first, "/backup/destinations/0/locked_until").to_owned();
    host.record(&logins(5));
    host.back_up();
    let listed = host.json(&["list", "--cloud", "s3"]);
    assert_eq!(text(&listed, "/backups/1/locked_until"), until, "{listed}");
    let cleaned = host.json(&["cleanup", "--cloud", "s3", "--keep", "1"]);
    assert!(cleaned.to_string().contains("locked"), "{cleaned}");
    let listed = host.json(&["list", "--cloud", "s3"]);
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(2), "{listed}");
}

#[test]
fn a_lock_that_was_asked_for_and_not_applied_is_exit_3() {
    let Some(host) = Host::with(Kind::Moto, "unlocked") else { return };
    host.record(&logins(5));
    let (code, out, err) =
        host.run(&["backup", "--cloud", "s3", "--retain-until", "30d", "--json"]);
    assert_eq!(code, 3, "{out}{err}");
    let said = document(&out);
    assert_eq!(said["error"]["kind"], "lock_not_applied", "{said}");
    assert_eq!(said["backup"]["local"], "verified", "{said}");
}

#[test]
fn what_was_altered_in_the_store_is_not_restored() {
    let Some(host) = Host::with(Kind::Moto, "altered") else { return };
    host.record(&logins(50));
    let made = host.back_up();
    let url = text(&made, "/destinations/0/url").to_owned();
    let mut archive = std::fs::read(host.dir.path().join(text(&made, "/file"))).expect("a file");
    let middle = archive.len() / 2;
    archive[middle] ^= 1;
    // Over it, as somebody with the keys can.
    let altered = host.dir.path().join("altered");
    std::fs::write(&altered, archive).expect("written");
    let (bucket, key) = url.trim_start_matches("s3://").split_once('/').expect("a key");
    let script = "import boto3, sys; bucket, key, file = sys.argv[1:]; \
        boto3.client('s3').put_object(Bucket=bucket, Key=key, Body=open(file, 'rb').read())";
    let done = Command::new(python().expect("the server needed it too"))
        .args(["-c", script, bucket, key])
        .arg(&altered)
        .envs(host.variables.iter().map(|(name, value)| (name, value)))
        .status()
        .expect("python");
    assert!(done.success());

    let (code, out, err) = host.run(&["restore", &url, "--target", "out", "--json"]);
    assert_eq!(code, 3, "{out}{err}");
    assert!(!host.dir.path().join("out").exists(), "nothing is left of it");
    let (code, out, _) = host.run(&["list", "--cloud", "s3", "--verify=content", "--json"]);
    assert_eq!(code, 1, "{out}");
}

#[test]
fn a_dry_run_says_where_to_and_sends_nothing() {
    let Some(host) = Host::with(Kind::Moto, "dry") else { return };
    host.record(&logins(5));
    let told = host.json(&["backup", "--cloud", "s3", "--dry-run"]);
    assert!(told.to_string().contains(&format!("s3://{}", host.place)), "{told}");
    assert_eq!(host.json(&["list", "--cloud", "s3"])["backups"].as_array().map(Vec::len), Some(0));
}

#[test]
fn validate_asks_a_bucket_and_writes_to_it_only_when_told_to() {
    for kind in Kind::CLOUDS {
        let Some(host) = Host::with(kind, "validate") else { continue };
        let status = |args: &[&str], id: &str| {
            let cloud = host.cloud();
            let all = [&["validate", "--quick", "--json", "--cloud", &*cloud][..], args].concat();
            let (_, out, err) = host.run(&all);
            let document = document(&out);
            let checks = document["sections"][2]["checks"].as_array().expect("Environment");
            let check = checks.iter().find(|check| check["id"] == id);
            check.unwrap_or_else(|| panic!("{id}: {out}{err}"))["status"].clone()
        };
        assert_eq!(status(&[], "environment.cloud_credentials"), "passed", "{kind:?}");
        assert_eq!(status(&[], "environment.cloud_reachable"), "passed", "{kind:?}");
        assert_eq!(status(&[], "environment.cloud_write"), "skipped", "{kind:?}");
        assert_eq!(status(&["--probe"], "environment.cloud_write"), "passed", "{kind:?}");
        // Nothing of the probe stays.
        let listed = host.json(&["list", "--cloud", &host.cloud()]);
        assert_eq!(listed["backups"], Value::Array(Vec::new()), "{kind:?}");
        let nowhere = ["--destination", "no-such-bucket-here/x"];
        assert_eq!(status(&nowhere, "environment.cloud_reachable"), "failed", "{kind:?}");
    }
}
