//! With a witness, and a client of witnesses, that share no code with ours.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::fetched::witness_python;
use crate::serving::Serving;
use crate::support::{Dir, eventually, json, ok};
use crate::witness::Witness;

const EVENT: &str = r#"{"event_type":"login","actor":"alice"}"#;

/// Another's witness, killed when dropped.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn theirs(python: &Path, dir: &Dir, args: &[&str]) -> String {
    let mut command = Command::new(python);
    command.args(["-m", "aics_witness"]).args(args).args(["--config", "witness.json"]);
    let output = command.current_dir(dir.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).expect("utf-8")
}

/// Tells them each line of the log's public key file.
fn add_logs(python: &Path, dir: &Dir) {
    for key in std::fs::read_to_string(dir.log().join("audit.pub")).expect("keys").lines() {
        let origin = key.split('+').next().expect("a name");
        theirs(python, dir, &["add-log", "--origin", origin, "--vkey", key]);
    }
}

fn serve(python: &Path, dir: &Dir) -> Other {
    let mut child = Command::new(python)
        .args(["-m", "aics_witness", "serve", "--config", "witness.json"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("piped"));
    let (tell, told) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let _ = tell.try_send(line);
        }
    });
    let other = Other(child);
    // It says where it listens; what it says else is read so that it need not wait.
    told.recv_timeout(crate::support::PATIENCE).expect("it says that it listens");
    other
}

fn cosigned_size(dir: &Dir) -> u64 {
    let note = std::fs::read_to_string(dir.log().join("audit.cosigned")).unwrap_or_default();
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

#[test]
fn our_collector_has_its_checkpoints_cosigned_by_another_s_witness_in_each_epoch() {
    let Some(python) = witness_python() else { return };
    let dir = Dir::new();
    std::fs::write(dir.path().join("auditctl.toml"), "origin = \"example.com/audit\"\n")
        .expect("written");
    ok(&dir, &["record", "--type", "x"]);
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").expect("bind");
        free.local_addr().expect("an address").to_string()
    };
    let key = theirs(&python, &dir, &["init", "--name", "w.example/1", "--listen", &address]);
    add_logs(&python, &dir);
    let policy = format!("witness theirs {} http://{address}\nquorum theirs\n", key.trim());
    std::fs::write(dir.path().join("policy"), policy).expect("written");
    let settings = "[witness]\npolicy = \"policy\"\ninterval = \"1s\"\n";
    let server = serve(&python, &dir);
    let collector = Serving::start(&dir, settings);
    let mut peer = collector.connect();
    for _ in 0..3 {
        let seq = peer.ask(EVENT)["ok"]["seq"].as_u64().expect("a seq");
        eventually("it is cosigned", || cosigned_size(&dir) > seq);
    }
    collector.terminate();
    // A start that knows nothing asks with what it has, and learns the size.
    let before = cosigned_size(&dir);
    std::fs::remove_file(dir.log().join("audit.cosigned")).expect("removed");
    let collector = Serving::start(&dir, settings);
    collector.connect().ask(EVENT);
    eventually("it is cosigned", || cosigned_size(&dir) > before);
    collector.terminate();
    assert!(ok(&dir, &["verify", "--policy", "policy"]).contains("quorum met"));

    // A restore that sets records aside: another origin, of which they have to be told.
    ok(&dir, &["backup"]);
    for _ in 0..3 {
        ok(&dir, &["record", "--type", "x"]);
    }
    ok(&dir, &["restore", "latest", "--force"]);
    ok(&dir, &["record", "--type", "x"]);
    let note = ok(&dir, &["checkpoint"]);
    assert!(note.lines().next().expect("an origin").ends_with("/e1"), "{note}");
    drop(server);
    add_logs(&python, &dir);
    let _server = serve(&python, &dir);
    let collector = Serving::start(&dir, settings);
    // What was cosigned of the epoch before holds for its records still, until there is more.
    eventually("the new epoch is cosigned", || {
        let text = std::fs::read_to_string(dir.log().join("audit.cosigned")).expect("read");
        text.lines().next().is_some_and(|origin| origin.ends_with("/e1"))
    });
    ok(&dir, &["verify", "--policy", "policy"]);
    collector.terminate();
}

#[test]
fn another_s_client_gets_cosignatures_from_our_witness_and_finds_them_good() {
    let Some(python) = witness_python() else { return };
    let dir = Dir::new();
    let grow = || {
        ok(&dir, &["record", "--type", "x"]);
        let note = ok(&dir, &["checkpoint"]);
        let size: u64 = note.lines().nth(1).expect("a size").parse().expect("a number");
        (note, size)
    };
    let (first, first_size) = grow();
    std::fs::copy(dir.log().join("audit.pub"), dir.path().join("accepted")).expect("copied");
    let witness = Witness::start(&dir, &[]);
    let key = ok(&dir, &["--log-dir", "witness", "witness", "--show-key"]);
    let (second, second_size) = grow();
    let (_, proof) = json(&dir, &["prove", "--from", &first_size.to_string()]);
    assert_eq!(proof["tree_size"], second_size);
    let input = serde_json::json!({
        "url": witness.url(), "key": key.trim(), "first": first, "second": second,
        "log_key": std::fs::read_to_string(dir.path().join("accepted")).expect("read").trim(),
        "old": first_size, "proof": proof["consistency_proof"],
    });
    std::fs::write(dir.path().join("input.json"), input.to_string()).expect("written");
    let script = r#"
import json
from aics_tlog import parse_note, parse_checkpoint, parse_vkey
from aics_witness.feeder import WitnessClient, WitnessRejected, WitnessAhead, merge_cosignatures
given = json.load(open("input.json"))
proof = [bytes.fromhex(hash) for hash in given["proof"]]
said = []
with WitnessClient(given["url"], given["key"]) as client:
    lines = client.submit(given["first"], (0, []))
    said.append(parse_checkpoint(parse_note(given["first"].encode()).text).size)
    lines = client.submit(given["second"], lambda old, new: proof if old == given["old"] else [])
    said.append(client.known_sizes[parse_checkpoint(parse_note(given["second"].encode()).text).origin])
with WitnessClient(given["url"], given["key"]) as client:
    try:
        client.submit(given["first"], lambda old, new: [])
        said.append("cosigned")
    except WitnessAhead as error:
        said.append("ahead")
open("cosigned", "wb").write(merge_cosignatures(given["second"], lines))
print(json.dumps(said))
"#;
    let output = Command::new(&python)
        .args(["-c", script])
        .current_dir(dir.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_str(&said).expect(&said);
    assert_eq!(said[0], first_size);
    assert_eq!(said[1], second_size);
    assert_eq!(said[2], "ahead");
    // Their note is ours to check.
    let policy = format!("witness ours {}\nquorum ours\n", key.trim());
    std::fs::write(dir.path().join("policy"), policy).expect("written");
    let check = ["verify", "--against", "cosigned", "--policy", "policy"];
    assert!(ok(&dir, &check).contains("quorum met"));
}
