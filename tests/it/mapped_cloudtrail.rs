//! CloudTrail files of calls that boto3 made, delivered to a bucket and fetched from it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::mappings::{fields, stored};
use crate::servers::{BUCKET, Kind, python};
use crate::support::{Dir, ok, run};

#[test]
fn what_boto_did_and_cloudtrail_delivered_is_in_the_log_once() {
    let Some(server) = Kind::Moto.server() else { return };
    let python = python().expect("moto runs on it");
    let dir = Dir::new();
    let folder = dir.path().join("delivered");
    std::fs::create_dir(&folder).expect("made");
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/servers/cloudtrail_boto.py");
    let output = Command::new(python)
        .arg(script)
        .args([&format!("http://{}", server.address), BUCKET])
        .arg(&folder)
        .output()
        .expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let count = made["records"].as_u64().expect("a number");
    let files: Vec<String> = std::fs::read_dir(&folder)
        .expect("listed")
        .map(|entry| entry.expect("an entry").path().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files.len() as u64, made["files"].as_u64().expect("a number"));
    let import = || -> Value {
        let mut told = json!({ "recorded": 0, "duplicates": 0 });
        for file in &files {
            let args = ["record", "--format", "cloudtrail", "--file", file, "--json"];
            let of_file: Value = serde_json::from_str(&ok(&dir, &args)).expect("JSON");
            for key in ["recorded", "duplicates"] {
                let more = of_file[key].as_u64().expect("a number");
                told[key] = (told[key].as_u64().expect("a number") + more).into();
            }
        }
        told
    };
    assert_eq!(import(), json!({ "recorded": count, "duplicates": 0 }));
    // A delivery that comes twice, as CloudTrail's may.
    assert_eq!(import(), json!({ "recorded": 0, "duplicates": count }));

    let found = stored(&dir);
    let names = made["ids"].as_object().expect("calls by their names");
    for (name, ids) in names {
        for id in ids.as_array().expect("ids") {
            let is_it = |record: &&Value| record["id"] == *id;
            let record = found.iter().find(is_it).unwrap_or_else(|| panic!("{name} {id}"));
            let [event_type, actor, source, ..] = fields(record);
            assert!(event_type.ends_with(&format!(":{name}")), "{record}");
            assert_eq!(actor, made["actor"].as_str().expect("an ARN"));
            assert!(source.ends_with(".amazonaws.com"), "{record}");
            assert_eq!(record["details"]["eventName"], **name, "whole");
        }
    }
    let denied =
        ["query", "--type", "iam:DeleteUser", "--outcome", "failure", "--format", "ndjson"];
    let (code, out, err) = run(&dir, &denied);
    assert_eq!((code, out.lines().count()), (0, 1), "{out}{err}");
    let failed: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&failed["target"], &failed["details"]["errorCode"]),
        (&json!("nobody"), &json!("NoSuchEntity"))
    );
    let asked =
        ["query", "--where", "details.requestParameters.tags.0.value ~ größe <b>7</b>", "--count"];
    assert_eq!(ok(&dir, &asked).trim(), "1");
}
