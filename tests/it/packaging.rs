//! What is shipped for other programs, judged by those programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Dir, missing};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

/// `None`, with a message, where the program is not installed.
fn run(command: &mut Command) -> Option<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            missing(&program);
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn prometheus_accepts_the_alerting_rules_and_they_fire_when_they_should() {
    let Some(checked) = run(Command::new("promtool")
        .arg("check")
        .arg("rules")
        .arg(shipped("prometheus/alerts.yml")))
    else {
        return;
    };
    assert!(checked.status.success(), "{}", said(&checked));
    let tests = shipped("prometheus/alerts_test.yml");
    let tested = run(Command::new("promtool").arg("test").arg("rules").arg(tests)).expect("there");
    assert!(tested.status.success(), "{}", said(&tested));
}

#[test]
fn the_dashboard_is_json_with_a_query_in_every_panel() {
    let text = std::fs::read_to_string(shipped("grafana/auditctl.json")).expect("shipped");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.len() >= 8);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{}", panel["title"]);
        assert!(targets.iter().all(|target| target["expr"].is_string()), "{}", panel["title"]);
    }
}

/// Grafana's own types, as tests/fixtures/README.md says. What Grafana does not know it leaves out without a word.
#[test]
fn the_dashboard_is_what_the_schema_of_grafana_asks_for() {
    const CHECK: &str = "import json, sys, jsonschema_rs\n\
        schema, document = (json.load(open(path, encoding='utf-8')) for path in sys.argv[1:])\n\
        wrong = [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)]\n\
        sys.exit('\\n'.join(wrong) or 0)\n";
    let Some(python) = crate::fetched::http_python() else { return };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let checked = |dashboard: &Path| {
        let schema = fixtures.join("grafana-dashboard.schema.json");
        let arguments = [schema.as_path(), dashboard];
        run(Command::new(&python).args(["-c", CHECK]).args(arguments)).expect("python")
    };
    let good = checked(&shipped("grafana/auditctl.json"));
    assert!(good.status.success(), "{}", said(&good));
    let dir = Dir::new();
    let text = std::fs::read_to_string(shipped("grafana/auditctl.json")).expect("shipped");
    for (right, wrong) in [("\"refresh\"", "\"refersh\""), ("\"w\": 24", "\"w\": \"24\"")] {
        let path = dir.path().join("wrong.json");
        std::fs::write(&path, text.replacen(right, wrong, 1)).expect("written");
        let bad = checked(&path);
        assert_eq!(bad.status.code(), Some(1), "{wrong} is refused: {}", said(&bad));
    }
}

/// systemd's own judgement, on the units as shipped but for the program's path,
/// which has to exist.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let dir = Dir::new();
    let mut units = Vec::new();
    for entry in std::fs::read_dir(shipped("systemd")).expect("units") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if name == "https.conf" {
            // A drop-in is judged with its unit.
            let beside = dir.path().join("auditctl.service.d");
            std::fs::create_dir(&beside).expect("made");
            std::fs::copy(&path, beside.join(name)).expect("copied");
            continue;
        }
        if !name.ends_with(".service") && !name.ends_with(".timer") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let text = text.replace("/opt/auditctl/bin/auditctl", env!("CARGO_BIN_EXE_auditctl"));
        let unit = dir.path().join(name);
        std::fs::write(&unit, text).expect("written");
        units.push(unit);
    }
    assert!(units.len() >= 5, "{units:?}");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]).args(&units);
    let Some(verified) = run(&mut verify) else { return };
    assert!(verified.status.success() && said(&verified).is_empty(), "{}", said(&verified));
}

#[test]
fn a_datadog_agent_is_told_each_check_and_its_numbers() {
    let dir = Dir::new();
    let collector = crate::serving::Serving::start(&dir, "");
    collector.connect().ask(r#"{"event_type":"login"}"#);
    let agent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    // What a program has sent on loopback is there when it has ended.
    agent.set_nonblocking(true).expect("no waiting");
    let tell = || {
        let mut command = Command::new("bash");
        command
            .arg(shipped("datadog/auditctl-dogstatsd.sh"))
            .arg("--log-dir")
            .arg(dir.log())
            .env("AUDIT_TRAIL", env!("CARGO_BIN_EXE_auditctl"))
            .env("DOGSTATSD_PORT", agent.local_addr().expect("address").port().to_string())
            .current_dir(dir.path());
        let output = command.output().expect("bash");
        assert!(output.status.success(), "{}", said(&output));
        let mut told = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = agent.recv(&mut buffer) {
            told.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
        }
        told
    };
    if run(Command::new("jq").arg("--version")).is_none() {
        return;
    }
    // On a busy machine the writer itself may be late at first, and health says so.
    crate::support::eventually("the agent is told that all is well", || {
        let told = tell();
        [
            "_sc|auditctl.health|0|m:",
            "_sc|auditctl.worker_thread|0|",
            "auditctl.write_buffer.events:0|g",
        ]
        .iter()
        .all(|start| told.iter().any(|line| line.starts_with(start)))
    });
    collector.kill_nine();
    let told = tell();
    let overall = told.iter().find(|line| line.starts_with("_sc|auditctl.health|2|")).expect("bad");
    assert!(
        overall.contains("worker_thread.died: writer died") && overall.contains(" -> start "),
        "{overall}"
    );
}
