//! docs/openapi.yaml is what the collector answers: the same paths, and whatever
//! schemathesis makes of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::fetched::http_python;
use crate::serving::{Serving, bearer, new_token};
use crate::support::{Dir, records};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.yaml");

fn text() -> String {
    std::fs::read_to_string(PAGE).expect("docs/openapi.yaml")
}

/// Method and path of each operation in the document.
fn described(text: &str) -> BTreeSet<(String, String)> {
    let (_, paths) = text.split_once("\npaths:\n").expect("paths");
    let (paths, _) = paths.split_once("\ncomponents:\n").expect("components");
    let mut found = BTreeSet::new();
    let mut path = "";
    for line in paths.lines() {
        let depth = line.len() - line.trim_start().len();
        let Some(key) = line.trim().strip_suffix(':') else { continue };
        match depth {
            2 => path = key,
            4 if matches!(key, "get" | "post" | "put" | "delete" | "patch" | "head") => {
                assert!(found.insert((key.to_uppercase(), path.to_owned())), "{key} {path} twice");
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_document_and_the_collector_have_the_same_paths_and_methods() {
    let routes = auditctl::collector::routes();
    let answered: BTreeSet<(String, String)> =
        routes.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(answered.len(), routes.len(), "each once");
    assert_eq!(described(&text()), answered);
}

#[test]
fn the_document_is_served_to_anybody_and_is_of_this_version() {
    let dir = Dir::new();
    new_token(&dir, "web-1", &[]);
    let collector = Serving::start(&dir, "[collector]\ntoken_file = \"tokens\"\n");
    let (status, head, body) = collector.get("/v1/openapi.yaml", "");
    assert_eq!((status, &*body), (200, &*text()));
    assert!(head.contains("content-type: application/yaml"), "{head}");
    assert!(body.contains(&format!("\n  version: {}\n", env!("CARGO_PKG_VERSION"))), "its version");
}

#[test]
fn each_path_says_which_methods_it_has() {
    let dir = Dir::new();
    let collector = Serving::start(&dir, "");
    for (_, path) in auditctl::collector::routes() {
        for (method, status) in [("OPTIONS", 204), ("PATCH", 405), ("BREW", 405)] {
            let ask =
                format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let (found, head, _) = collector.http(&ask);
            assert_eq!(found, status, "{method} {path}");
            let allow = head.lines().find_map(|line| line.strip_prefix("allow: "));
            let allow: BTreeSet<&str> = allow.expect("Allow").split([',', ' ']).collect();
            let takes = ["/v1/events", "/v1/logs", "/v1/ingest/{name}"].contains(&path);
            let other = match path {
                "/v1/session" => "delete",
                _ if takes => "post",
                _ => "get",
            };
            assert!(allow.contains(other) && allow.contains("options"), "{method} {path}: {head}");
        }
    }
}

/// Far beyond what is tried, so that no limit is met but by chance.
const SETTINGS: &str = "[collector]\ntoken_file = \"tokens\"\ntoken_rate = 1000000\n\
                        token_requests = 1000000\n[rate_limit]\nenabled = false\n";

/// What schemathesis is told, beside the document: what is a refusal here, and that bad
/// events, of which it sends many, make the log's health critical.
const CONFIG: &str = r#"
seed = 20261128
headers = { Authorization = "Bearer ${AUDITCTL_TOKEN}" }
color = false

[generation]
max-examples = 40
database = "none"

[checks]
# 413: a field or the body is too long. 207: one event of a batch is refused, and others are not.
negative_data_rejection.expected-statuses = [
    "207", "400", "401", "403", "404", "405", "406", "413", "415", "422", "429",
]

# A foreign object without what the mapping needs is refused, as its sender made it.
[[operations]]
include-path = ["/v1/ingest/{name}"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "5xx"]
checks.ignored_auth.enabled = false
checks.missing_required_header.enabled = false

# What cannot be read of a request of OTLP is refused alone: `partialSuccess` says so.
[[operations]]
include-path = ["/v1/logs"]
checks.negative_data_rejection.expected-statuses = ["200", "400", "401", "403", "404", "405", "406", "413", "415", "422", "429"]
checks.ignored_auth.enabled = false
checks.missing_required_header.enabled = false

# One verification runs at a time, and then none for a while.
[[operations]]
include-path = ["/v1/verify"]
checks.ignored_auth.enabled = false
checks.missing_required_header.enabled = false
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "429", "5xx"]

# Requests without a valid token are limited for each address, and there are many routes: those of
# the others are enough here. That each asks for its token is tested where its rights are (access.rs,
# proof_http.rs, page_doors.rs).
[[operations]]
include-path = [
    "/v1/records/{seq}", "/v1/summary", "/v1/status", "/v1/session", "/v1/coverage", "/v1/proof/{seq}", "/v1/checkpoint",
]
checks.ignored_auth.enabled = false
checks.missing_required_header.enabled = false

[[operations]]
include-path = ["/health", "/metrics"]
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]
"#;

#[test]
fn what_schemathesis_asks_is_answered_as_the_document_says() {
    let Some(python) = http_python() else { return };
    let dir = Dir::new();
    let token = new_token(&dir, "tester", &["--role", "read-write"]);
    let collector = Serving::start(&dir, SETTINGS);
    for nth in 0..50 {
        let event = format!(r#"{{"event_type":"login","actor":"a{nth}","details":{{"n":{nth}}}}}"#);
        assert_eq!(collector.post("application/json", &bearer(&token), &event).0, 201);
    }
    let config = dir.path().join("schemathesis.toml");
    std::fs::write(&config, CONFIG).expect("written");
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    let output = Command::new(python.with_file_name("schemathesis"))
        .arg("--config-file")
        .arg(&config)
        .args(["run", PAGE, "--url", &format!("http://{}", collector.http)])
        // Those without a valid token are limited for each address, and there are many routes: that
        // each asks for its token is tested where its rights are.
        .args(["--checks", "all", "--exclude-checks", "missing_required_header,ignored_auth"])
        .env("AUDITCTL_TOKEN", &token)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", hooks)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HOME", dir.path())
        .current_dir(dir.path())
        .output()
        .expect("schemathesis");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let all = auditctl::collector::routes().len();
    assert!(said.contains(&format!("Tested: {all}\n")), "each was tried: {said}");
    assert!(records(&dir.log()).len() > 100, "events of it are in the log");
}
