//! docs/disaster-recovery.md, done: a host burns down, and somebody who has the page, the
//! program, credentials and the kept keys gets a running, verified, backed-up collector.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::servers::{BUCKET, Kind};
use crate::support::{Dir, all_lines, auditctl};

/// The block of the page that is marked as that step.
fn step(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/disaster-recovery.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let marker = format!("<!-- step: {name} -->\n```sh\n");
    assert_eq!(page.matches(&marker).count(), 1, "one step {name:?}");
    let (_, rest) = page.split_once(&marker).expect("the step");
    rest.split_once("```").expect("its end").0.to_owned()
}

/// A bare machine: an empty directory, and nothing in its environment but where the program is
/// and the values that the page asks for.
struct Bare {
    dir: Dir,
    values: Vec<(&'static str, String)>,
}

impl Bare {
    fn new(destination: &str, cloud: &[(&'static str, String)]) -> Self {
        let dir = Dir::new();
        let place = |name: &str| dir.path().join(name).display().to_string();
        let mut values = vec![
            ("AUDITCTL_LOG_DIR", place("var/logs")),
            ("AUDITCTL_BACKUP_OUTPUT_DIR", place("var/backups")),
            ("AUDITCTL_BACKUP_DESTINATION", destination.to_owned()),
            ("KEPT", place("kept")),
            // Tests run beside each other, and one port is for one collector.
            ("AUDITCTL_COLLECTOR_HTTP", "127.0.0.1:0".to_owned()),
        ];
        values.extend(cloud.iter().cloned());
        // Every value that the page sets is one of these.
        for line in step("values").lines() {
            for word in line.split_whitespace().filter(|word| word.contains('=')) {
                let name = word.split('=').next().unwrap_or_default();
                assert!(values.iter().any(|(value, _)| *value == name), "{name} in the page");
            }
        }
        Self { dir, values }
    }

    fn kept(&self) -> PathBuf {
        self.dir.path().join("kept")
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("var/logs")
    }

    /// Runs steps of the page in one shell, line for line as they stand there.
    fn run(&self, steps: &[&str]) -> (String, String) {
        let program = Path::new(env!("CARGO_BIN_EXE_auditctl")).parent().expect("a directory");
        let script: String = steps.iter().map(|name| step(name)).collect();
        // What the page starts in the background ends with the shell.
        let script = format!("trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}");
        let mut command = Command::new("timeout");
        command.args(["180", "bash", "-euo", "pipefail", "-c", &script]);
        command.current_dir(self.dir.path()).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
        command.envs(self.values.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("bash");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{steps:?}: {}\n{out}\n{err}", output.status);
        (out, err)
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditctl"));
        command.args(args).arg("--json").current_dir(self.dir.path()).env_clear();
        command.envs(self.values.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}");
        serde_json::from_str(&text).expect(&text)
    }
}

/// A host that recorded, was backed up, and burnt down: its lines, and the keys that were kept.
fn burnt(destination: &str, cloud: &[(&'static str, String)]) -> (Vec<String>, Dir) {
    let host = Dir::new();
    let run = |args: &[&str]| {
        let mut command = auditctl(&host, args);
        command.envs(cloud.iter().map(|(name, value)| (name, value)));
        command.env("AUDITCTL_BACKUP_DESTINATION", destination);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for n in 0..20 {
        run(&["record", "--type", "login", "--actor", &format!("user-{n}")]);
    }
    run(&["backup"]);
    let lines = all_lines(&host.log());
    let kept = Dir::new();
    for name in ["audit.pub", "audit.key"] {
        std::fs::copy(host.log().join(name), kept.path().join(name)).expect("kept");
    }
    (lines, kept)
}

fn destination(test: &str) -> Option<(String, Vec<(&'static str, String)>)> {
    let server = Kind::S3s.server()?;
    let destination = format!("s3://{BUCKET}/disaster-{test}-{}", std::process::id());
    Some((destination, Kind::S3s.variables(server.address)))
}

fn keep(bare: &Bare, kept: &Dir, names: &[&str]) {
    std::fs::create_dir(bare.kept()).expect("made");
    for name in names {
        std::fs::copy(kept.path().join(name), bare.kept().join(name)).expect("kept");
    }
}

/// B3
#[test]
fn the_page_leads_from_a_bare_host_to_a_running_verified_backed_up_collector() {
    let Some((destination, cloud)) = destination("page") else { return };
    let cloud: Vec<_> =
        cloud.into_iter().chain([("AWS_EC2_METADATA_DISABLED", "true".to_owned())]).collect();
    let (lines, kept) = burnt(&destination, &cloud);
    let bare = Bare::new(&destination, &cloud);
    keep(&bare, &kept, &["audit.pub", "audit.key"]);
    let (out, err) = bare.run(&["look", "restore", "key", "verify", "go on"]);
    assert!(out.contains("VERIFIED"), "{out}{err}");

    // Nothing of what was backed up is missing, and the log went on.
    let restored = all_lines(&bare.logs());
    let logins = |lines: &[String]| lines.iter().filter(|line| line.contains("login")).count();
    assert_eq!(logins(&restored), 20, "{restored:?}");
    assert!(restored.starts_with(&lines[..20]), "the same lines");
    assert!(restored.iter().any(|line| line.contains("disaster.recovered")));
    // Both backups are in the bucket: the one of the burnt host, and the one made now.
    let listed = bare.json(&["list", "--cloud", "s3", "--verify=chain"]);
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(listed["backups"][0]["verified"], "chain", "{listed}");
    assert_eq!(listed["logs"].as_array().map(Vec::len), Some(1), "one log: {listed}");
}

/// B2, B3: the key burnt too.
#[test]
fn the_page_leads_on_where_the_key_is_lost() {
    let Some((destination, cloud)) = destination("lost") else { return };
    let cloud: Vec<_> =
        cloud.into_iter().chain([("AWS_EC2_METADATA_DISABLED", "true".to_owned())]).collect();
    let (_, kept) = burnt(&destination, &cloud);
    let bare = Bare::new(&destination, &cloud);
    keep(&bare, &kept, &["audit.pub"]);
    bare.run(&["look", "restore", "verify", "lost key", "go on"]);
    let restored = all_lines(&bare.logs());
    assert!(restored.iter().any(|line| line.contains("disaster.recovered")), "{restored:?}");
    assert!(restored.iter().any(|line| line.contains("audit.key_replaced")), "{restored:?}");
    // To a machine that knows neither key they are two: anybody could have replaced a key.
    let bare = Bare::new(&destination, &cloud);
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditctl"));
    command.args(["restore", "latest", "--cloud", "s3", "--json"]).env_clear();
    command.envs(bare.values.iter().map(|(name, value)| (name, value)));
    let output = command.current_dir(bare.dir.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
}

/// B2, B3: the key was kept in escrow.
#[cfg(feature = "encryption")]
#[test]
fn the_page_leads_on_with_a_key_from_escrow() {
    use age::secrecy::ExposeSecret;
    let Some((destination, cloud)) = destination("escrow") else { return };
    let cloud: Vec<_> =
        cloud.into_iter().chain([("AWS_EC2_METADATA_DISABLED", "true".to_owned())]).collect();
    let (_, kept) = burnt(&destination, &cloud);
    // What `key export` wrote on the host, before it burnt.
    let identity = age::x25519::Identity::generate();
    let key = auditctl::audit::keys::signer::SigningKey::load(
        &auditctl::fsio::OsFs,
        &kept.path().join("audit.key"),
    )
    .expect("a key");
    let now = auditctl::clock::Timestamp::from_micros(1_700_000_000_000_000);
    let sealed = auditctl::backup::export_key(&key, &[identity.to_public().to_string()], now)
        .expect("sealed");
    std::fs::write(kept.path().join("audit.key.age"), sealed).expect("kept");
    let file = kept.path().join("escrow-identity");
    std::fs::write(&file, identity.to_string().expose_secret()).expect("kept");
    auditctl::fsio::os::set_mode(&file, 0o600).expect("private");

    let bare = Bare::new(&destination, &cloud);
    keep(&bare, &kept, &["audit.pub", "audit.key.age", "escrow-identity"]);
    let (out, err) = bare.run(&["look", "restore", "escrow", "verify", "go on"]);
    assert!(out.contains("VERIFIED"), "{out}{err}");
    let restored = all_lines(&bare.logs());
    assert!(restored.iter().any(|line| line.contains("disaster.recovered")), "{restored:?}");
    assert!(!restored.iter().any(|line| line.contains("audit.key_replaced")), "the same key");
}

/// The page on a machine of which there is nothing but the program, its libraries and a
/// shell, as the service's user, with a server that is no part of this process.
#[test]
fn the_page_leads_on_in_an_empty_root_as_the_service_s_user() {
    let Some(server) = Kind::Moto.server() else { return };
    let Some(root) = crate::empty_root::Root::new() else { return };
    let mut cloud = Kind::Moto.variables(server.address);
    cloud.push(("AWS_EC2_METADATA_DISABLED", "true".to_owned()));
    let destination = format!("s3://{BUCKET}/disaster-root-{}", std::process::id());
    let (_, kept) = burnt(&destination, &cloud);
    for name in ["audit.pub", "audit.key"] {
        root.give(
            &format!("mnt/kept/{name}"),
            std::fs::read(kept.path().join(name)).expect("kept"),
        );
    }
    // The page's own paths.
    let mut environment = vec![
        ("AUDITCTL_LOG_DIR", "/var/lib/auditctl/log".to_owned()),
        ("AUDITCTL_BACKUP_OUTPUT_DIR", "/var/lib/auditctl/backups".to_owned()),
        ("AUDITCTL_BACKUP_DESTINATION", destination),
        ("KEPT", "/mnt/kept".to_owned()),
        ("AUDITCTL_COLLECTOR_HTTP", "127.0.0.1:0".to_owned()),
    ];
    environment.extend(cloud);
    let script: String =
        ["look", "restore", "key", "verify", "go on"].iter().map(|name| step(name)).collect();
    let said = root.done(&script, &environment);
    assert!(said.contains("VERIFIED"), "{said}");
    let restored = all_lines(&root.at("var/lib/auditctl/log"));
    let logins = restored.iter().filter(|line| line.contains("login")).count();
    assert_eq!(logins, 20, "{restored:?}");
    assert!(restored.iter().any(|line| line.contains("disaster.recovered")));
}
