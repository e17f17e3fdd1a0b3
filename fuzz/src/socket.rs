//! The socket's framing: an answer for each line, in order, and the same ones
//! however the bytes come.

use super::peer::{Place, pieces, with_place};

/// The first byte says where the rest is cut.
pub fn check(data: &[u8]) {
    let Some((pattern, lines)) = data.split_first() else { return };
    with_place(2 * data.len(), |place| {
        let whole = answers(place, &[lines]);
        let in_pieces = answers(place, &pieces(lines, *pattern));
        assert_eq!(whole, in_pieces, "framing must make no difference");
        let asked = lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let asked = asked.count();
        let hung_up = whole.len() >= 100 || whole.iter().any(|kind| kind == "too_large");
        assert!(whole.len() == asked || hung_up, "{} answers of {asked}", whole.len());
    });
}

/// `ok`, or the error's kind, of each.
fn answers(place: &Place, chunks: &[&[u8]]) -> Vec<String> {
    let before = place.log.acked_seq();
    let text = place.open.socket(chunks).expect("answers");
    let mut newest = before.checked_sub(1);
    let mut kinds = Vec::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.ends_with(b"\n"), "a whole line");
        let answer: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        if let Some(kind) = answer["error"]["kind"].as_str() {
            kinds.push(kind.to_owned());
            continue;
        }
        assert!(answer["ok"].is_object(), "{answer}");
        if let Some(seq) = answer["ok"]["seq"].as_u64() {
            assert!(Some(seq) > newest, "{seq} after {newest:?}");
            assert!(seq < place.log.acked_seq(), "acknowledged before it was durable");
            newest = Some(seq);
        }
        kinds.push("ok".to_owned());
    }
    kinds
}
