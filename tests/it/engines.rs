//! docs/engines.md: engines that are not ours answer six questions over a fleet's bucket as
//! `auditctl query` does on the hosts.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use auditctl::audit::{Event, Options};
use auditctl::clock::{ManualClock, Timestamp};
use auditctl::store::{BackupStore, Limits};
use serde_json::{Value, json};

use crate::backups::{Home, all_compressed};
use crate::clock::libfaketime;
use crate::servers::{BUCKET, Kind, engines};
use crate::support::{auditctl, missing, open, skipped};

/// Two are numbers, which engines take for something else than text.
const HOSTS: [&str; 8] =
    ["7", "2026", "db-1", "edge_1", "mail.example", "web-1", "web-10", "web-2"];
const OUTAGE: usize = 2;
const KEY_CHANGE: usize = 3;
const RESTORED: usize = 5;
const EVENTS: usize = 130;

type Rows = Vec<Vec<String>>;
type Answers = BTreeMap<String, Rows>;

struct Host {
    name: &'static str,
    number: usize,
    home: Home,
    clock: Arc<ManualClock>,
}

struct Fleet {
    hosts: Vec<Host>,
    url: String,
    variables: Vec<(&'static str, String)>,
    faketime: &'static str,
}

impl Host {
    fn new(number: usize, name: &'static str) -> Self {
        let (home, clock) = Home::at("2026-02-02T09:58:00Z");
        Self { name, number, home, clock }
    }

    /// A day's events, one a second, into segments of which a day fills several.
    fn record(&self, day: usize) {
        let begin: Timestamp = format!("2026-02-0{}T09:59:00Z", 2 + day).parse().expect("a time");
        self.clock.set_wall(begin);
        let options = Options { clock: self.clock.clone(), ..self.home.options() };
        let log = open(options);
        let mut last = None;
        for n in 0..EVENTS {
            self.clock.advance(Duration::from_secs(1));
            let types = ["login", "payment.made", "payment.refused", "zugriff.geändert"];
            let is_rare = n == 31 && (self.number + day).is_multiple_of(3);
            let actor = if is_rare { "mallory".to_owned() } else { format!("user-{}", n % 13) };
            let mut event = Event::new(types[n % types.len()]).source("shop").actor(actor);
            if n % 5 > 0 {
                let ip = if n % 40 == 9 { "10.0.0.7" } else { "10.0.0.77" };
                let text = "Straße \"x\" \u{1F600} ".repeat(n % 9);
                event = event.details(&json!({"ip": ip, "n": n, "text": text})).expect("details");
            }
            if n % 17 == 0 {
                event = event.timestamp("2026-02-03T10:01:00.5Z".parse().expect("a time"));
            }
            last = Some(log.record(event).expect("recorded"));
        }
        last.expect("one").wait_durable().expect("durable");
        all_compressed(&log);
        log.close().expect("closed");
    }

    /// What `auditctl query` prints, line by line.
    fn query(&self, args: &[&str]) -> Vec<Value> {
        let all = [&["query", "--format", "ndjson"], args].concat();
        let output = auditctl(&self.home.dir, &all).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
    }

    fn count(&self) -> usize {
        let output = auditctl(&self.home.dir, &["query", "--count"]).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.trim().parse().unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

impl Fleet {
    /// The program on a host of that name, so much later.
    fn run(&self, host: &Host, later: &str, args: &[&str]) {
        let program = env!("CARGO_BIN_EXE_auditctl");
        let renamed = "printf %s \"$1\" >/proc/sys/kernel/hostname && shift && \
                       exec env LD_PRELOAD=\"$FAKETIME_LIBRARY\" FAKETIME=\"$LATER\" \"$@\"";
        let output = Command::new("unshare")
            .args(["--uts", "sh", "-c", renamed, "sh", host.name, program, "--log-dir"])
            .arg(host.home.log_dir())
            .args(args)
            .current_dir(host.home.dir.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_LIBRARY", self.faketime)
            .env("LATER", later)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {said}", host.name);
    }

    /// Three hours later: what was recorded just now is old enough for a data object.
    fn ship(&self, host: &Host) {
        self.run(host, "+3h", &["archive", &self.url]);
    }

    /// The host is lost, and the log comes back from the bucket; its key was kept.
    fn restore(&self, host: &Host) {
        let log = host.home.log_dir();
        let kept = host.home.dir.path().join("kept");
        std::fs::rename(&log, &kept).expect("gone");
        let key = kept.join("audit.pub");
        let key = key.to_str().expect("UTF-8");
        self.run(host, "+0", &["restore", &self.url, "--public-key", key, "--force"]);
        std::fs::copy(kept.join("audit.key"), log.join("audit.key")).expect("the key");
    }
}

/// The bucket as a directory.
fn copied(store: &dyn BackupStore, to: &Path) {
    let mut names = Vec::new();
    store
        .visit("", &mut |object| {
            names.push(object.name.clone());
            Ok(())
        })
        .expect("listed");
    assert!(!names.is_empty());
    for name in names {
        let path = to.join(&name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let mut bytes = Vec::new();
        let mut object = store.open(&name, None, 0).expect("opened");
        object.read_to_end(&mut bytes).expect("read");
        std::fs::write(path, bytes).expect("written");
    }
}

/// What `auditctl query` on each host answers.
fn of_the_hosts(hosts: &[Host]) -> Answers {
    let text = |record: &Value, key: &str| match &record[key] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let asked = |args: &[&str], keys: &[&str]| -> Rows {
        let mut rows = Vec::new();
        for host in hosts {
            let mut records = host.query(args);
            records.sort_by_key(|record| record["seq"].as_u64());
            rows.extend(records.iter().map(|record| {
                let values = keys.iter().map(|key| text(record, key));
                std::iter::once(host.name.to_owned()).chain(values).collect()
            }));
        }
        rows.sort_by(|a: &Vec<String>, b| a[0].cmp(&b[0]));
        rows
    };
    let mut by_type = BTreeMap::new();
    let mut newest = Vec::new();
    for host in hosts {
        let records = host.query(&[]);
        for record in &records {
            let day = text(record, "timestamp")[..10].to_owned();
            *by_type.entry((text(record, "event_type"), day)).or_insert(0) += 1;
        }
        let last = records.iter().max_by_key(|record| record["seq"].as_u64()).expect("one");
        newest.push(vec![host.name.to_owned(), text(last, "seq"), text(last, "event_type")]);
    }
    newest.sort();
    let by_type = by_type.into_iter();
    let by_type = by_type
        .map(|((event_type, day), count): (_, i32)| vec![event_type, day, count.to_string()]);
    let range = ["--since", "2026-02-03T10:00:00Z", "--until", "2026-02-03T10:02:00Z"];
    let count: usize = hosts.iter().map(Host::count).sum();
    [
        ("by-actor", asked(&["--actor", "mallory"], &["seq", "event_type"])),
        ("by-type-and-day", by_type.collect()),
        ("time-range", asked(&range, &["seq", "actor"])),
        ("in-details", asked(&["--where", "details.ip = \"10.0.0.7\""], &["seq"])),
        ("newest-per-host", newest),
        ("count", vec![vec![count.to_string()]]),
    ]
    .into_iter()
    .map(|(name, rows)| (name.to_owned(), rows))
    .collect()
}

fn ask(python: &Path, engine: &str, place: &str, variables: &[(&str, String)]) -> Answers {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/ask.py");
    let output = Command::new(python)
        .arg(script)
        .args([engine, place])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("TZ", "America/New_York")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{engine}: {error}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

#[test]
fn every_engine_answers_six_questions_over_eight_hosts_and_three_days_as_the_hosts_do() {
    let Some(faketime) = libfaketime() else { return missing("faketime") };
    if Command::new("java").arg("-version").output().is_err() {
        return missing("java");
    }
    let renamed = Command::new("unshare").args(["--uts", "true"]).status();
    if !renamed.is_ok_and(|status| status.success()) {
        return skipped("only root can give a program another host's name");
    }
    let Some(python) = engines() else { return };
    let Some(server) = Kind::Moto.server() else { return };
    let prefix = format!("{BUCKET}/engines-{}", std::process::id());
    let fleet = Fleet {
        hosts: HOSTS.iter().enumerate().map(|(number, name)| Host::new(number, name)).collect(),
        url: format!("s3://{prefix}"),
        variables: Kind::Moto.variables(server.address),
        faketime,
    };
    for day in 0..3 {
        for host in &fleet.hosts {
            match (day, host.number) {
                (2, KEY_CHANGE) => fleet.run(host, "+0", &["key", "rotate", "--reason", "yearly"]),
                (2, RESTORED) => fleet.restore(host),
                _ => {}
            }
            host.record(day);
            if (day, host.number) != (1, OUTAGE) {
                fleet.ship(host);
            }
        }
    }
    let expected = of_the_hosts(&fleet.hosts);
    assert!(expected.values().all(|rows| !rows.is_empty()), "{expected:?}");

    let copy = tempfile::tempdir().expect("a directory");
    copied(&*Kind::Moto.open(server.address, &prefix, &Limits::default()), copy.path());
    let parquet: Vec<PathBuf> = std::fs::read_dir(copy.path().join("parquet/v1"))
        .expect("days")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(parquet.len() >= 3, "{parquet:?}");
    let directory = copy.path().to_str().expect("UTF-8");
    let bucket = format!("http://{}/{prefix}", server.address);
    for (engine, place) in [
        ("duckdb", directory),
        ("datafusion", directory),
        ("clickhouse", &bucket),
        ("spark", directory),
    ] {
        let answers = ask(&python, engine, place, &fleet.variables);
        for (question, rows) in &expected {
            assert_eq!(&answers[question], rows, "{engine}: {question}");
        }
    }
}
