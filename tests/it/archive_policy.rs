//! The policy in docs/archive.md, as it is printed there, on a server that enforces it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::servers::{Server, python, start, this_host};
use crate::support::{Dir, auditctl, ok, skipped};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/servers/moto_iam.py");
const BUCKET: &str = "acme-audit";
const PLACE: &str = "s3://acme-audit/trail";

/// The policy of the documents, for this log on this host.
fn policy(log_id: &str, host: &str) -> Value {
    let text = include_str!("../../docs/archive.md");
    let (_, permissions) = text.split_once("\n## Permissions\n").expect("the chapter");
    let (_, block) = permissions.split_once("```json\n").expect("the policy");
    let (block, _) = block.split_once("```").expect("its end");
    let own = block
        .replace("0123456789abcdef0123456789abcdef", log_id)
        .replace("host=web-1/", &format!("host={host}/"));
    assert!(own.contains(log_id) && own.contains(&format!("host={host}/")), "{own}");
    serde_json::from_str(&own).expect("JSON")
}

/// The same without what allows an action.
fn without(policy: &Value, action: &str) -> Value {
    let mut policy = policy.clone();
    let statements = policy["Statement"].as_array_mut().expect("statements");
    statements.retain(|statement| statement["Action"] != action);
    policy
}

struct Iam {
    python: PathBuf,
    server: Server,
}

impl Iam {
    fn start() -> Result<Self, String> {
        let python = python()?;
        let server = start(&python, |address| {
            let [host, port] = [address.ip().to_string(), address.port().to_string()];
            [SCRIPT.to_owned(), "serve".to_owned(), host, port].into()
        })?;
        Ok(Self { python, server })
    }

    fn asks(&self, what: &str, input: &Value) -> Value {
        let endpoint = format!("http://{}", self.server.address);
        let mut child = Command::new(&self.python)
            .args([SCRIPT, what, &endpoint])
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, input.to_string().as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("it runs");
        assert!(output.status.success(), "{what}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// `auditctl` with these keys: its exit code and its one document.
fn as_user(dir: &Dir, address: SocketAddr, keys: &Value, args: &[&str]) -> (i32, Value) {
    let key = |at: usize| keys[at].as_str().expect("a key");
    let output = auditctl(dir, &[&["--json"], args].concat())
        .env("AWS_ACCESS_KEY_ID", key(0))
        .env("AWS_SECRET_ACCESS_KEY", key(1))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_S3", format!("http://{address}"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let document = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.code().unwrap_or(-1), document)
}

#[test]
fn the_documented_policy_lets_a_host_ship_and_nothing_else() {
    let iam = match Iam::start() {
        Ok(iam) => iam,
        Err(why) => {
            let required = std::env::var_os("CLOUD_TEST_SERVERS").is_some();
            assert!(!required, "moto with IAM is required by CLOUD_TEST_SERVERS: {why}");
            return skipped(&format!("cloud server moto with IAM: {why}"));
        }
    };
    let dir = Dir::new();
    ok(&dir, &["record", "--type", "login"]);
    let id = std::fs::read_to_string(dir.log().join("audit.pub")).expect("a key");
    let id = id.split(['/', '+']).find(|part| part.len() == 32).expect("a log's id").to_owned();
    let host = this_host().as_str().to_owned();
    let policy = policy(&id, &host);
    let other = "f".repeat(32);
    let others = [
        format!("trail/tail/log={other}/e0.00000000000000000000.ndjson.gz"),
        format!("trail/data/day=2026-02-04/host=other-{host}/{other}.json.gz"),
        format!("trail/proof/log={other}/e0.00000000000000000001.checkpoint"),
    ];
    let wanted = json!({ "bucket": BUCKET, "objects": others, "users": {
        "host": policy,
        "cannot-put": without(&policy, "s3:PutObject"),
        "cannot-get": without(&policy, "s3:GetObject"),
        "cannot-list": without(&policy, "s3:ListBucket"),
    }});
    let keys = iam.asks("setup", &wanted);
    let address = iam.server.address;
    let ship = |user: &str| as_user(&dir, address, &keys[user], &["archive", PLACE]);

    // It ships: first everything, then nothing, then what is new; also where its position is lost.
    for records in [1, 0, 1] {
        let (code, said) = ship("host");
        assert_eq!(code, 0, "{said}");
        let shipped = said["archive"]["records"].as_u64().expect("a number");
        assert_eq!(shipped > 0, records > 0, "{said}");
        if records == 0 {
            ok(&dir, &["record", "--type", "login"]);
        }
    }
    std::fs::remove_file(dir.log().join("audit.archive.json")).expect("removed");
    let (code, said) = ship("host");
    assert_eq!(code, 0, "{said}");

    // It does nothing else.
    let tail = format!("trail/tail/log={id}/e0.00000000000000000000.ndjson.gz");
    let new = format!("trail/tail/log={id}/e0.00000000000000009999.ndjson.gz");
    let own = format!("trail/tail/log={id}/");
    let tries = json!({ "bucket": BUCKET, "key": keys["host"][0], "secret": keys["host"][1],
        "tries": [
        ["reads its own", "get_object", { "Key": tail }],
        ["lists its own", "list_objects_v2", { "Prefix": own }],
        ["puts a new one", "put_object", { "Key": new, "Body": "x", "IfNoneMatch": "*" }],
        ["removes", "delete_object", { "Key": tail }],
        ["overwrites", "put_object", { "Key": tail, "Body": "x" }],
        ["overwrites by a condition", "put_object",
            { "Key": tail, "Body": "x", "IfNoneMatch": "*" }],
        ["lists all", "list_objects_v2", {}],
        ["lists another", "list_objects_v2", { "Prefix": format!("trail/tail/log={other}/") }],
        ["lists all data", "list_objects_v2", { "Prefix": "trail/data/" }],
        ["lists versions", "list_object_versions", { "Prefix": own }],
        ["reads another's tail", "get_object", { "Key": others[0] }],
        ["reads another's data", "get_object", { "Key": others[1] }],
        ["asks for another's proof", "head_object", { "Key": others[2] }],
        ["puts for another", "put_object",
            { "Key": format!("{}.x", others[0]), "Body": "x", "IfNoneMatch": "*" }],
    ]});
    let answers = iam.asks("try", &tries);
    for (what, answer) in answers.as_object().expect("answers") {
        let expected = match what.as_str() {
            "reads its own" | "lists its own" | "puts a new one" => "done",
            "overwrites by a condition" => "PreconditionFailed",
            _ => "AccessDenied",
        };
        assert_eq!(answer, expected, "it {what}: {answers}");
    }

    // What is missing is named: the object, and what the credentials have to allow.
    for (user, action) in [("cannot-put", "s3:PutObject"), ("cannot-get", "s3:GetObject")] {
        ok(&dir, &["record", "--type", "login"]);
        let (code, said) = ship(user);
        let error = &said["error"];
        assert_eq!((code, &error["kind"]), (3, &"access_denied".into()), "{user}: {said}");
        let text = error.to_string();
        for part in [action, PLACE, "docs/archive.md"] {
            assert!(text.contains(part), "{user}: {part} is not in {text}");
        }
    }
    std::fs::remove_file(dir.log().join("audit.archive.json")).expect("removed");
    let (code, said) = ship("cannot-list");
    let text = said["error"].to_string();
    assert!(code == 3 && text.contains("s3:ListBucket"), "{said}");
    // With the whole policy it goes on.
    assert_eq!(ship("host").0, 0);
}
