//! Foreign input: cut into objects the same however it comes, with bounded memory; what is
//! mapped is a line that the log reads, and its details are the object.

use auditctl::audit::{Event, ParseMode};
use auditctl::config::Settings;
use auditctl::mapping::otlp::{Encoding, Logs};
use auditctl::mapping::{Mapping, Piece};

/// An object may have so much here.
const MAX_BYTES: usize = 4 << 10;

/// The first byte chooses the mapping and the parts in which the rest comes.
pub fn check(input: &[u8]) {
    let Some((choice, input)) = input.split_first() else { return };
    let settings = Settings::default();
    let names = settings.mapping.names();
    let name = names[usize::from(*choice) % names.len()];
    let mapping = settings.mapping.get(name).expect("built in");
    let whole = cut(&mapping, input, input.len().max(1));
    for step in [1, 1 + usize::from(*choice) % 64] {
        assert_eq!(cut(&mapping, input, step), whole, "{name} by {step}");
    }
    for piece in &whole {
        if let Piece::Object(object) = piece {
            map(&mapping, object);
        }
    }
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let logs = Logs::new(input, encoding, MAX_BYTES);
        for log in logs.into_iter().flatten().take(1_000).flatten() {
            let read: Result<serde_json::Value, _> = serde_json::from_str(&log);
            assert!(read.is_ok(), "{log}");
        }
    }
}

fn cut(mapping: &Mapping, input: &[u8], step: usize) -> Vec<Piece> {
    let mut pieces = mapping.pieces(MAX_BYTES);
    let mut found = Vec::new();
    for mut part in input.chunks(step) {
        while let Some(next) = pieces.next(&mut part) {
            found.push(next.piece);
        }
        assert!(pieces.bytes() <= 4 * MAX_BYTES + 4 * step + 1_024, "{} bytes", pieces.bytes());
    }
    while let Some(next) = pieces.next(&mut &b""[..]) {
        found.push(next.piece);
    }
    found.extend(pieces.end().map(|next| next.piece));
    found
}

fn map(mapping: &Mapping, object: &[u8]) {
    let mapped = match mapping.apply(object, MAX_BYTES, &[]) {
        Ok(mapped) => mapped,
        Err(error) => {
            assert!(error.to_string().len() < 2_048, "nothing is repeated at length");
            return;
        }
    };
    if let Ok(mut event) = Event::from_json(&mapped.line, ParseMode::Strict) {
        let checked =
            event.check(&auditctl::audit::EventLimits { max_details_bytes: 2 * MAX_BYTES });
        assert!(checked.is_ok(), "{checked:?}");
    }
}
