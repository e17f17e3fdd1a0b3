//! HTTP's framing: the same statuses however the bytes come, and nothing recorded
//! that was not said to be.

use auditctl::collector::harness::Harness;

use super::peer::{Place, pieces, with_place};

/// The first byte says where the rest is cut, and whether a token is asked for.
pub fn check(data: &[u8]) {
    let Some((pattern, requests)) = data.split_first() else { return };
    with_place(2 * data.len(), |place| {
        let harness = if pattern & 1 == 0 { &place.open } else { &place.with_token };
        let whole = statuses(place, harness, &[requests]);
        let in_pieces = statuses(place, harness, &pieces(requests, *pattern));
        assert!(same(&whole, &in_pieces), "framing made a difference: {whole:?}, {in_pieces:?}");
    });
}

/// hyper may hang up on a head that is wrong and never ends, or say so; and after
/// a body that nobody read, unless all of it had come by then. What both say is
/// the same.
fn same(one: &[u16], other: &[u16]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn statuses(place: &Place, harness: &Harness, chunks: &[&[u8]]) -> Vec<u16> {
    let before = place.log.acked_seq();
    let text = harness.http(chunks).expect("answers");
    let statuses: Vec<u16> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)))
        .map(|digits| std::str::from_utf8(digits).expect("digits").parse().expect("a status"))
        // Said or not, depending on what has come by then.
        .filter(|status| *status != 100)
        // How many wrong tokens there were before this, is not of these bytes.
        .map(|status| if status == 429 { 401 } else { status })
        .collect();
    for status in &statuses {
        assert!((200..600).contains(status), "{status}");
        assert_ne!(*status, 500, "{}", String::from_utf8_lossy(&text));
    }
    if place.log.acked_seq() > before {
        let answered = statuses.iter().any(|status| *status < 300);
        assert!(answered || tells_of_records(&text), "recorded, and not said so");
    }
    statuses
}

/// A body that ends early is an error; what came before it is recorded, and its answer
/// says how much.
fn tells_of_records(text: &[u8]) -> bool {
    const NAME: &[u8] = b"\"recorded\":";
    let told = text.windows(NAME.len() + 1).filter(|window| window.starts_with(NAME));
    told.filter_map(|window| window.last()).any(|digit| matches!(digit, b'1'..=b'9'))
}
