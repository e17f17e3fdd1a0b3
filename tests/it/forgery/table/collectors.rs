//! The same under a real collector, for what an attacker does first: it lives, it
//! answers, it ends in order, and what it acknowledged is there or is missed.

use serde_json::json;

use super::cells::stored;
use super::changes::{Change, Exercised, write};
use crate::serving::{Peer, Serving};
use crate::support::{Dir, run};

const CHANGES: [Change; 3] = [Change::Removed, Change::Emptied, Change::Directory];

/// Records three events; the actors of those that were acknowledged.
fn record(peer: &mut Peer, round: &str) -> Result<Vec<String>, String> {
    let mut acknowledged = Vec::new();
    for n in 0..3 {
        let actor = format!("{round}-{n}");
        let event = json!({"event_type": "e", "actor": actor, "source": actor});
        peer.send(&format!("{event}\n"));
        let answer = peer.answer().ok_or("the collector hung up")?;
        if answer["ok"]["seq"].is_u64() {
            acknowledged.push(actor);
        }
    }
    Ok(acknowledged)
}

fn look(exercised: &Exercised, name: &str, change: Change) -> Option<Result<(), String>> {
    let dir = Dir::new();
    write(&exercised.files, &dir.log());
    let collector = Serving::start(&dir, "redact = [\"password\"]\n");
    let mut peer = collector.connect();
    let made = |peer: &mut Peer| -> Result<Option<Vec<String>>, String> {
        let mut acknowledged = record(peer, "before")?;
        if !dir.log().join(name).exists() || !change.make(&dir.log(), name, exercised) {
            return Ok(None);
        }
        acknowledged.extend(record(peer, "after")?);
        Ok(Some(acknowledged))
    };
    let acknowledged = match made(&mut peer) {
        Ok(Some(acknowledged)) => acknowledged,
        Ok(None) => return None,
        Err(error) => return Some(Err(format!("{error}: {}", collector.stderr()))),
    };
    drop(peer);
    collector.signal(rustix::process::Signal::TERM);
    let mut collector = collector;
    let status = collector.wait();
    // It says so when it cannot close the log; it is not killed.
    if status.code().is_none() {
        return Some(Err(format!("it died: {status}: {}", collector.stderr())));
    }
    let (code, out, err) = run(&dir, &["verify"]);
    if code != 0 {
        let found = [1, 3].contains(&code) && !(out + &err).trim().is_empty();
        return Some(if found { Ok(()) } else { Err(format!("verify exits {code}")) });
    }
    let stored = stored(&dir.log());
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|actor| {
            let sent = format!("\"actor\":\"{actor}\"");
            !stored.iter().any(|line| line.contains(&sent))
        })
        .collect();
    Some(if lost.is_empty() { Ok(()) } else { Err(format!("verify passes without {lost:?}")) })
}

#[test]
fn whatever_is_done_to_a_file_under_a_collector_it_lives_and_loses_nothing_unseen() {
    let exercised = Exercised::new();
    let cells: Vec<(&String, Change)> =
        exercised.files.keys().flat_map(|name| CHANGES.map(|change| (name, change))).collect();
    let looked = super::in_parallel(&cells, |(name, change)| {
        let looked = look(exercised, name, *change)?;
        Some(looked.map_err(|error| format!("{name} {change:?}: {error}")))
    });
    let wrong: Vec<_> = looked.iter().filter_map(|cell| cell.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), looked.len());
    assert!(looked.len() >= 40, "{} cells", looked.len());
}
