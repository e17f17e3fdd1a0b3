//! Another id for a foreign event whose own is taken.
//!
//! Who may do something in a foreign system can often choose the id of its events there,
//! Kubernetes' `Audit-ID` for one. So an id that comes again with other content refuses
//! nothing: the event is recorded under `id#2`, under `id#3` if that is taken as well, and
//! at last without one. What is sent again takes the same way, and is known there.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{json, value::RawValue};
use sha2::{Digest, Sha256};

use super::apply::MAX_ID_BYTES;
use crate::units::hex;

/// So many events may share an id.
const LAST: u32 = 4;

/// A mapped event's line with the next id after its own, or without one after the last;
/// `None` if it has none.
#[must_use]
pub fn with_next_id(line: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    let line = std::str::from_utf8(line).ok()?;
    let raw = serde_json::from_str::<Line<'_>>(line).ok()?.id?.get();
    // It is a part of the line.
    let begin = (raw.as_ptr() as usize).checked_sub(line.as_ptr() as usize)?;
    let (before, after) = (line.get(..begin)?, line.get(begin + raw.len()..)?);
    let id: Cow<'_, str> = serde_json::from_str(raw).ok()?;
    let (base, nth) = counted(&id);
    if nth >= LAST {
        let (before, after) = (before.strip_suffix("\"id\":")?, after.strip_prefix(',')?);
        return Some(format!("{before}{after}").into_bytes());
    }
    let mut next = format!("{base}#{}", nth + 1);
    if next.len() > MAX_ID_BYTES {
        let digest = hex(&Sha256::digest(base.as_bytes()));
        next = format!("sha256:{digest}#{}", nth + 1);
    }
    Some(format!("{before}{}{after}", json!(next)).into_bytes())
}

/// The id without its number, and that.
fn counted(id: &str) -> (&str, u32) {
    let counted = id.rsplit_once('#').and_then(|(base, nth)| Some((base, nth.parse().ok()?)));
    counted.filter(|(_, nth)| (2..=LAST).contains(nth)).unwrap_or((id, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_s_next_id_takes_the_place_of_its_own_until_it_has_none() {
        let line = |id: &str| format!(r#"{{"event_type":"a",{id}"details":{{"id":"x#2"}}}}"#);
        let mut now = line(r##""id":"ä\"","##);
        for expected in [r##""id":"ä\"#2","##, r##""id":"ä\"#3","##, r##""id":"ä\"#4","##, ""] {
            now = String::from_utf8(with_next_id(now.as_bytes()).expect("next")).expect("UTF-8");
            assert_eq!(now, line(expected));
        }
        assert_eq!(with_next_id(now.as_bytes()), None);
    }

    #[test]
    fn the_next_of_a_long_id_has_room_and_is_its_own() {
        let next = |id: String| {
            let line = json!({ "id": id, "details": {} }).to_string();
            let line = with_next_id(line.as_bytes()).expect("next");
            serde_json::from_slice::<serde_json::Value>(&line).expect("JSON")["id"].to_string()
        };
        let (one, two) = (next("a".repeat(128)), next("b".repeat(128)));
        assert!(one.len() <= MAX_ID_BYTES + 2 && one != two && one.ends_with("#2\""), "{one}");
    }
}
