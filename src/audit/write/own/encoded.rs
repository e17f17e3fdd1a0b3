//! An own record as the queue takes it, never longer than a record may be.

use serde_json::Value;

use super::OwnRecord;
use crate::audit::record::event::{Event, MAX_LINE_BYTES};
use crate::audit::record::{EncodedOrigin, Origin, Via, encode_body};

/// The record's details have so many bytes at most: a line that is longer than a record
/// may be would make the log unreadable from there on.
const MAX_DETAILS_BYTES: usize = MAX_LINE_BYTES - (64 << 10);

/// In a record that would be too long, a text has so many bytes, and a list so many
/// items. Signed notes stay whole: they prove something. One of the log's own signatures
/// is far shorter than this; a longer text that looks like a note is somebody else's.
const SHORT_TEXT: usize = 400;
const LONGEST_NOTE: usize = 4096;
const SHORT_LIST: usize = 100;

/// The details, short enough for a record. What they authorise (numbers, hashes, signed
/// notes) is all there: only texts that were quoted from elsewhere, and long lists, are
/// cut, and it says how long they were.
fn details(own: &OwnRecord) -> Value {
    // Plain structs of numbers and strings always serialize.
    let mut details = serde_json::to_value(own).unwrap_or_default();
    let bytes = details.to_string().len();
    if bytes >= MAX_DETAILS_BYTES {
        shorten(&mut details);
        if let Value::Object(members) = &mut details {
            members.insert("cut_from_bytes".to_owned(), bytes.into());
        }
    }
    details
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > SHORT_TEXT => {
            if text.len() <= LONGEST_NOTE && text.contains("\n\n\u{2014} ") {
                return;
            }
            let end = (0..=SHORT_TEXT).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        Value::Array(items) => {
            items.truncate(SHORT_LIST);
            items.iter_mut().for_each(shorten);
        }
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Whether a record of it can be made at all: what is not recorded must not be done.
pub(crate) fn fits(own: &OwnRecord) -> bool {
    details(own).to_string().len() < MAX_DETAILS_BYTES
}

/// The record's part that the queue takes.
pub(crate) fn encode(own: &OwnRecord) -> Vec<u8> {
    let mut event = Event::new(own.event_type()).actor("auditctl").source("auditctl");
    // In the order in which the struct has them, unless something had to be cut.
    let whole = event.clone().details(own);
    event = match whole {
        Ok(with) if with.details.as_ref().map_or(0, String::len) < MAX_DETAILS_BYTES => with,
        _ => match event.clone().details(&details(own)) {
            Ok(with) if with.details.as_ref().map_or(0, String::len) < MAX_DETAILS_BYTES => with,
            // Nothing that is bounded as it should be comes here; the log stays readable.
            _ => event,
        },
    };
    let origin = Origin { pid: Some(std::process::id()), ..Origin::here(Via::Engine) };
    let mut body = Vec::with_capacity(256);
    encode_body(&event, &EncodedOrigin::new(&origin), &mut body);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::write::own::Recovered;

    #[test]
    fn an_own_record_is_never_longer_than_a_line_may_be() {
        let reason = "x".repeat(MAX_LINE_BYTES);
        let gap = OwnRecord::Gap { source: None, count: 3, first: None, last: None, reason };
        let text = String::from_utf8(encode(&gap)).expect("utf-8");
        assert!(text.contains(r#""event_type":"audit.gap""#), "{text}");
        assert!(text.contains(r#""count":3"#), "{text}");
        assert!(text.contains(r#""cut_from_bytes":10"#), "{text}");
        assert!(text.len() < 1_000);
    }

    #[test]
    fn what_a_record_authorises_is_there_however_long_the_texts_are_that_it_quotes() {
        let note =
            format!("auditctl/5f0c\n7\nroot\n\n\u{2014} auditctl/5f0c {}\n", "A".repeat(900));
        let recovered = Recovered {
            unsigned_first: Some(10),
            unsigned_end: Some(11),
            // Also one that is made to look like a note.
            manifest_rebuilt: Some(format!("log \n\n\u{2014} {}", "A".repeat(MAX_LINE_BYTES))),
            checkpoint_lost: Some("\u{1}".repeat(MAX_LINE_BYTES)),
            stored_anew: vec!["audit.00000000000000000000.log.gz".to_owned(); 50_000],
            abandoned_checkpoint: Some(note.clone()),
            ..Recovered::default()
        };
        let own = OwnRecord::Recovered(Box::new(recovered));
        assert!(fits(&own));
        let text = String::from_utf8(encode(&own)).expect("utf-8");
        let at = text.find(r#""details":"#).expect("details") + 10;
        let mut found = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let details = found.next().expect("a value").expect("json");
        assert_eq!(
            (&details["unsigned_first"], &details["unsigned_end"]),
            (&10.into(), &11.into())
        );
        assert_eq!(details["abandoned_checkpoint"], note);
        assert_eq!(details["stored_anew"].as_array().map(Vec::len), Some(SHORT_LIST));
    }

    #[test]
    fn an_own_record_names_itself_and_leaves_out_what_is_absent() {
        let body = encode(&OwnRecord::Gap {
            source: None,
            count: 3,
            first: None,
            last: None,
            reason: "test".to_owned(),
        });
        let text = String::from_utf8(body).expect("utf-8");
        assert!(text.starts_with(
            r#""event_type":"audit.gap","actor":"auditctl","source":"auditctl","details":{"count":3,"reason":"test"},"origin":{"via":"engine""#
        ), "{text}");
    }
}
