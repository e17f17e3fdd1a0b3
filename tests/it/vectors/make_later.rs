//! The vectors of what came after the first of them: records that were given up, and keys
//! that were replaced. A reader of before finds something `wrong` in them, as `earlier`
//! says: it never calls them good.

use auditctl::audit::LogPaths;
use auditctl::audit::read::verify::prove;
use auditctl::audit::tree::document::Kind;
use auditctl::audit::write::key_replace::{ReplaceRequest, replace_key};
use serde_json::{Value, json};

use super::make::{Maker, first_sealed, key_of, replace, sealed_end};
use crate::additive::rewrite;
use crate::backups::{Home, names, read};
use crate::holes::{accept, alter, report};

pub(super) fn later(maker: &mut Maker) {
    given_up(maker);
    replaced(maker);
}

fn given_up(maker: &mut Maker) {
    let home = Home::new();
    home.record(300);
    let dir = home.log_dir();
    std::fs::remove_file(dir.join(first_sealed(&dir))).expect("removed");
    let active = LogPaths::new(&dir).active();
    alter(&active, sealed_end(&dir) + 3);
    accept(&home);
    home.record(30);
    let found = report(&home, &auditctl::audit::read::verify::Request::default());
    let holes: Vec<Value> =
        found.holes.iter().map(|hole| json!([hole.first_seq, hole.end_seq])).collect();
    assert_eq!(holes.len(), 2, "{found:?}");
    maker.log_with(
        "logs/given-up",
        &dir,
        "a lost segment and a damaged record were given up: signed records name them",
        json!({"holes": holes, "earlier": "wrong"}),
    );
    maker.later_backup(&home);

    let changed = maker.changed("logs/given-up");
    let all = names(changed.path());
    let last = all.iter().rfind(|name| name.ends_with(".log.gz")).expect("a segment");
    std::fs::remove_file(changed.path().join(last)).expect("removed");
    maker.bad_log(
        "bad/given-up",
        changed.path(),
        "wrong",
        "one more segment is gone than was given up",
    );
    let home = Home::new();
    home.record(300);
    let dir = home.log_dir();
    let end = sealed_end(&dir);
    std::fs::remove_file(dir.join(first_sealed(&dir))).expect("removed");
    rewrite(&dir, Kind::MANIFEST, (0, end), |manifest| {
        let segment = &mut manifest["segments"][0];
        for block in segment["blocks"].as_array_mut().expect("blocks") {
            block["hole"] = json!("lost in a fire");
            for member in ["stored_bytes", "raw_bytes", "offset"] {
                block[member] = json!(0);
            }
        }
        (segment["stored_bytes"], segment["raw_bytes"]) = (json!(0), json!(0));
        manifest["holes_by"] = json!(3);
    });
    maker.bad_log(
        "bad/hole",
        &dir,
        "wrong",
        "a signed manifest names a hole that no signed record gave up",
    );
}

fn replaced(maker: &mut Maker) {
    let home = Home::new();
    home.record(20);
    let dir = home.log_dir();
    let (before, lost) = (read(&dir.join("audit.checkpoint")), key_of(&dir));
    std::fs::remove_file(dir.join("audit.key")).expect("lost");
    let reason = "the disk that held it burnt".to_owned();
    let request = ReplaceRequest { reason, uid: 1000, user: Some("ann".to_owned()) };
    replace_key(&home.options(), &request).expect("replaced");
    home.record(10);
    let why = "the signing key was lost and replaced: an epoch that nobody's signature leads to";
    maker.log_with("logs/replaced", &dir, why, json!({"earlier": "wrong"}));

    let after = read(&dir.join("audit.checkpoint"));
    maker.write("keys/replaced/audit.keys", read(&dir.join("audit.keys")));
    maker.write("keys/replaced/audit.pub", read(&dir.join("audit.pub")));
    maker.write("keys/replaced/lost.pub", format!("{}\n", lost.verifier()));
    for (name, note, key, expect, why) in [
        ("before", &before, "audit.pub", "ok", "signed by the key that was lost later"),
        ("before", &before, "lost.pub", "ok", "the same, for whoever believes only that key"),
        ("after", &after, "audit.pub", "ok", "signed by the key that took its place"),
        (
            "after",
            &after,
            "lost.pub",
            "wrong",
            "nothing that the lost key signed leads to the one that took its place",
        ),
    ] {
        maker.write(&format!("keys/replaced/{name}"), note);
        let more = json!({"path": format!("keys/replaced/{name}"), "earlier": "wrong",
            "public_key": format!("keys/replaced/{key}"), "keys": "keys/replaced/audit.keys"});
        maker.case(&format!("keys/replaced/{name} by {key}"), "checkpoint", expect, why, more);
    }
    let proof = prove(&home.fs, &dir, 7).expect("a proof").encode();
    maker.write("proofs/replaced.json", proof);
    for (key, expect, why) in [
        (
            "audit.pub",
            "ok",
            "a record of before, proven under the key that took the lost one's place",
        ),
        ("lost.pub", "wrong", "the same, for whoever believes only the lost key"),
    ] {
        let more = json!({"path": "proofs/replaced.json", "earlier": "wrong",
            "public_key": format!("keys/replaced/{key}")});
        maker.case(&format!("proofs/replaced.json by {key}"), "proof", expect, why, more);
    }
    let changed = maker.changed("logs/replaced");
    replace(&changed.path().join("audit.keys"), b"the disk", b"the desk");
    maker.bad_log(
        "bad/replaced",
        changed.path(),
        "wrong",
        "the reason that stands in audit.keys is not the one that the new key signed",
    );
    let changed = maker.changed("logs/replaced");
    std::fs::remove_file(changed.path().join("audit.keys")).expect("removed");
    let why = "how the key was replaced is lost";
    maker.bad_log("bad/replaced-keys", changed.path(), "wrong", why);
}
