//! `auditctl token`, as operators use it.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use serde_json::Value;

use crate::serving::new_token;
use crate::support::{Dir, auditctl, run, skipped};

fn list(dir: &Dir) -> Vec<Value> {
    let (code, stdout, stderr) = run(dir, &["token", "list", "--token-file", "tokens", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    document["tokens"].as_array().expect("tokens").clone()
}

#[test]
fn a_token_is_printed_once_and_only_its_hash_is_kept() {
    let dir = Dir::new();
    let args = ["token", "new", "--token-file", "tokens", "--name", "ci", "--rate", "500"];
    let (code, stdout, stderr) = run(&dir, &args);
    assert_eq!(code, 0, "{stderr}");
    let secret = stdout.strip_suffix('\n').expect("a line");
    assert!(secret.starts_with("actl_") && secret.len() == 54, "{secret}");
    assert!(stderr.contains("only time") && !stderr.contains(secret), "{stderr}");
    let file = dir.path().join("tokens");
    let kept = std::fs::read_to_string(&file).expect("the file");
    assert!(!kept.contains(secret) && !kept.contains(&secret[5..48]), "{kept}");
    let mode = std::fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (_, table, _) = run(&dir, &["token", "list", "--token-file", "tokens"]);
    assert!(table.contains("ci") && table.contains("write") && table.contains("500"), "{table}");
    // For programs: one document, the token in it.
    let args = ["token", "new", "--token-file", "tokens", "--name", "b", "--json"];
    let (_, stdout, _) = run(&dir, &[&args[..], &["--role", "read", "--expires", "90d"]].concat());
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert!(document["token"].as_str().expect("the token").starts_with("actl_"));
    assert_eq!((&document["role"], &document["state"]), (&"read".into(), &"valid".into()));
    assert!(document["expires"].is_string() && list(&dir).len() == 2);
}

#[test]
fn of_many_made_at_once_none_is_lost() {
    let dir = Dir::new();
    let children: Vec<_> = (0..12)
        .map(|n| {
            let name = format!("t{n}");
            let args = ["token", "new", "--token-file", "tokens", "--name", &name];
            let mut command = auditctl(&dir, &args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
        })
        .collect();
    let mut secrets: Vec<Vec<u8>> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("ends");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        })
        .collect();
    secrets.sort();
    secrets.dedup();
    assert_eq!((secrets.len(), list(&dir).len()), (12, 12));
}

#[test]
fn a_revoked_token_stays_in_the_list_and_keeps_its_name() {
    let dir = Dir::new();
    new_token(&dir, "ci", &[]);
    let revoke = ["token", "revoke", "ci", "--token-file", "tokens"];
    let (code, stdout, stderr) = run(&dir, &revoke);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("revoked") && stderr.contains("1s"), "{stderr}");
    assert_eq!(list(&dir)[0]["state"], "revoked");
    assert_eq!(run(&dir, &revoke).0, 0, "again is no error");
    let args = ["token", "new", "--token-file", "tokens", "--name", "ci"];
    let (code, stdout, stderr) = run(&dir, &args);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("ci-2"), "{stderr}");
    let (code, _, stderr) = run(&dir, &["token", "revoke", "nobody", "--token-file", "tokens"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("nobody") && stderr.contains("token list"), "{stderr}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let dir = Dir::new();
    let (code, stdout, stderr) = run(&dir, &["token", "new", "--name", "a", "--json"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("collector.token_file"), "{stderr}");
    let document: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!(document["error"]["kind"], "usage");
    let wrong: [&[&str]; 7] = [
        &["--name", "a b"],
        &["--name", ""],
        &["--name", "a", "--role", "admin"],
        &["--name", "a", "--rate", "0"],
        &["--name", "a", "--expires", "0s"],
        &["--name", "a", "--expires", "2001-01-01T00:00:00Z"],
        &["--name", "a", "--expires", "soon"],
    ];
    for args in wrong {
        let all = [&["token", "new", "--token-file", "tokens"], args].concat();
        let (code, stdout, stderr) = run(&dir, &all);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(!stderr.is_empty() && !dir.path().join("tokens").exists(), "{args:?}");
    }
    let all = ["token", "new", "--name", "a", "--token-file", "none/tokens"];
    let (code, _, stderr) = run(&dir, &all);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("none/tokens"), "{stderr}");
    let (code, _, stderr) = run(&dir, &["token", "list", "--token-file", "tokens"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("token new"), "{stderr}");
    std::fs::write(dir.path().join("tokens"), "0123456789abcdef\n").expect("written");
    std::fs::set_permissions(dir.path().join("tokens"), PermissionsExt::from_mode(0o600))
        .expect("mode");
    for command in [&["list"][..], &["new", "--name", "a"], &["revoke", "a"]] {
        let all = [&["token", "--token-file", "tokens"], command].concat();
        let (code, _, stderr) = run(&dir, &all);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("plain token") && !stderr.contains("0123456789"), "{stderr}");
    }
}

#[test]
fn a_token_that_nobody_could_take_is_not_made() {
    let dir = Dir::new();
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let args = ["token", "new", "--token-file", "tokens", "--name", "lost"];
    let output = auditctl(&dir, &args).stdout(full).output().expect("runs");
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("not made") && !stderr.contains("actl_"), "{stderr}");
    assert!(list(&dir).is_empty());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = auditctl(&dir, &args).stdout(writer).output().expect("runs");
    assert_eq!(output.status.code(), Some(3), "gone is as bad as full");
    assert!(list(&dir).is_empty());
}

#[test]
fn root_makes_tokens_for_the_user_of_the_log() {
    if !rustix::process::getuid().is_root() {
        skipped("only root can give a file to another user");
        return;
    }
    let dir = Dir::new();
    std::fs::create_dir(dir.log()).expect("made");
    std::os::unix::fs::chown(dir.log(), Some(65534), Some(65534)).expect("given away");
    let owner = || std::fs::metadata(dir.path().join("tokens")).expect("there").uid();
    new_token(&dir, "one", &[]);
    assert_eq!(owner(), 65534, "the first one's file is the log's owner's");
    std::os::unix::fs::chown(dir.path().join("tokens"), Some(65533), None).expect("given away");
    new_token(&dir, "two", &[]);
    assert_eq!(owner(), 65533, "a file keeps its owner");
}
