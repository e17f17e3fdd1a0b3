//! What an operator acknowledges in the signed roster, because it can never be put right: shown
//! as such, and nothing else with it.

use std::path::Path;

use auditctl::archive::ObjectName;
use auditctl::fleet::{Acknowledgement, FindingKind, Fleet, Request, Roster, What};
use sha2::{Digest, Sha256};

use crate::backups::read;
use crate::fleet::{Hosts, codes, said};

fn digest(path: &Path) -> What {
    let digest = Sha256::digest(read(path));
    What::Sha256(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn acknowledge(kind: FindingKind, object: &str, what: What) -> Acknowledgement {
    let (object, reason) = (object.to_owned(), "known since the move, ticket 4711".to_owned());
    Acknowledgement { kind, object, what, reason }
}

fn verified(hosts: &Hosts, acknowledged: &[Acknowledgement], before: Option<&Fleet>) -> Fleet {
    let roster = Some(Roster { acknowledged: acknowledged.to_vec(), ..hosts.roster() });
    let state = before.map(|before| before.state.clone()).unwrap_or_default();
    // The number stays, and the text is another.
    let state = auditctl::fleet::State { rosters: Vec::new(), ..state };
    hosts.verify_as(Request { roster, state, trusts_times: true, ..hosts.request() })
}

#[test]
fn what_is_acknowledged_is_told_as_such_and_nothing_else_is_hidden() {
    let hosts = Hosts::new(2);
    let ranges = hosts.of(0);
    let parquet = ranges.iter().find(|name| matches!(name, ObjectName::Parquet(_)));
    let stray = "data/day=2026-02-04/host=web-0/left behind.json.gz";
    let junk = format!("proof/log={}/e0.00000000000000000001.range.json", hosts.id(0));
    std::fs::create_dir_all(hosts.bucket().join("data/day=2026-02-04/host=web-0")).expect("made");
    for name in [stray, &junk] {
        std::fs::write(hosts.bucket().join(name), "junk").expect("written");
    }
    let mut all = vec![
        acknowledge(FindingKind::ForeignObject, stray, digest(&hosts.bucket().join(stray))),
        acknowledge(FindingKind::ForeignObject, &junk, digest(&hosts.bucket().join(&junk))),
    ];
    if let Some(parquet) = parquet.filter(|_| cfg!(feature = "parquet")) {
        std::fs::write(hosts.path(parquet), "no table").expect("written");
        let what = digest(&hosts.path(parquet));
        all.push(acknowledge(FindingKind::TableDiffers, &parquet.to_string(), what));
    }
    hosts.age();
    let fleet = hosts.verify();
    assert!(codes(&fleet).contains("foreign_object"), "{}", said(&fleet));
    let fleet = verified(&hosts, &all, None);
    assert_eq!(fleet.worst(), None, "{}", said(&fleet));
    assert_eq!((fleet.acknowledged.len(), fleet.unused), (all.len(), 0));
    let known = fleet.acknowledged.iter().find(|it| it.object.ends_with("left behind.json.gz"));
    assert_eq!(known.expect("told").reason, "known since the move, ticket 4711");
    // The next check says the same, and a log without such a table is not read again for it.
    let again = verified(&hosts, &all, Some(&fleet));
    assert_eq!((again.worst(), again.acknowledged.len()), (None, all.len()), "{}", said(&again));
    let of = |at: usize| again.logs.iter().find(|log| log.id == hosts.id(at)).expect("its log");
    assert!(of(1).records_known > 0, "{:?}", of(1));
    // Other content under the same name is a finding again, and so is another object.
    std::fs::write(hosts.bucket().join(stray), "other junk").expect("written");
    std::fs::write(hosts.bucket().join(&junk), "other junk").expect("written");
    std::fs::write(hosts.bucket().join("data/more"), "junk").expect("written");
    let fleet = verified(&hosts, &all, Some(&again));
    let objects: Vec<&String> = fleet.all_findings().flat_map(|it| &it.objects).collect();
    for name in [stray, &junk, "data/more"] {
        assert!(objects.iter().any(|url| url.ends_with(name)), "{name}: {}", said(&fleet));
    }
    assert_eq!((fleet.acknowledged.len(), fleet.unused), (all.len() - 2, 2));
}

/// Whoever signs the roster may be wrong, or made to be: a data object is never passed over.
#[test]
fn an_acknowledged_name_hides_no_damage() {
    let hosts = Hosts::new(1);
    let data = hosts.of(0).into_iter().find(|name| matches!(name, ObjectName::Data(_)));
    let data = data.expect("a data object");
    let what = digest(&hosts.path(&data));
    let all = [acknowledge(FindingKind::ForeignObject, &data.to_string(), what)];
    // It is proven, so it is no foreign object.
    let fleet = verified(&hosts, &all, None);
    assert_eq!((fleet.worst(), fleet.acknowledged.len(), fleet.unused), (None, 0, 1));
    let mut bytes = read(&hosts.path(&data));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(hosts.path(&data), bytes).expect("written");
    let what = digest(&hosts.path(&data));
    let all = [acknowledge(FindingKind::ForeignObject, &data.to_string(), what)];
    let fleet = verified(&hosts, &all, None);
    assert!(codes(&fleet).contains("object_altered"), "{}", said(&fleet));
    std::fs::remove_file(hosts.path(&data)).expect("removed");
    let fleet = verified(&hosts, &all, None);
    assert!(codes(&fleet).contains("object_missing"), "{}", said(&fleet));
}
