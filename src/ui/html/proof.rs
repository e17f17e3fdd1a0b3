//! The proof of a record as one file that checks itself.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{STYLE, policy, visible};
use crate::audit::keys::checkpoint::SignedCheckpoint;
use crate::audit::read::verify::ProofDocument;

/// The checker is the one that the collector's page uses, and what shows its verdict.
const SCRIPT: &str =
    concat!(include_str!("../../collector/page/static/proof.js"), include_str!("proof-view.js"));

/// Between these stands the proof document, as base64: nothing in it can end the element.
const BEGIN: &str = "<script type=\"text/plain\" id=\"proof\">";
const END: &str = "</script>";

#[derive(Template)]
#[template(path = "proof.html")]
struct Page<'a> {
    policy: String,
    style: &'static str,
    script: &'static str,
    made_by: &'a str,
    seq: u64,
    origin: String,
    fields: Vec<(String, String)>,
    line: String,
    proof: String,
}

/// The file. `document` has been checked.
///
/// # Errors
/// [`askama::Error`]: what cannot be.
pub fn proof_html(document: &ProofDocument, made_by: &str) -> Result<String, askama::Error> {
    let origin = SignedCheckpoint::parse(document.signed.checkpoint.as_bytes())
        .map_or_else(|_| String::new(), |note| visible(&note.unverified().origin));
    let page = Page {
        policy: policy(Some(SCRIPT)),
        style: STYLE,
        script: SCRIPT,
        made_by,
        seq: document.seq,
        origin,
        fields: fields(&document.record),
        line: visible(&document.record),
        proof: STANDARD.encode(document.encode() + "\n"),
    };
    page.render()
}

/// The proof document that stands in such a file; `None` for any other file.
#[must_use]
pub fn embedded_proof(file: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(file).ok()?;
    let is_html = text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("<!doctype html>"));
    let (_, rest) = text.split_once(BEGIN).filter(|_| is_html)?;
    let (proof, after) = rest.split_once(END)?;
    // Two of them would be two proofs, of which a browser checks the first.
    let once = !after.contains(BEGIN);
    STANDARD.decode(proof.trim_ascii()).ok().filter(|_| once)
}

/// The record's members, as they stand in it.
fn fields(line: &str) -> Vec<(String, String)> {
    let Ok(members) = serde_json::from_str::<Members<'_>>(line) else { return Vec::new() };
    members.0.into_iter().map(|(name, value)| (visible(&name), visible(&shown(value)))).collect()
}

fn shown(value: &RawValue) -> String {
    match serde_json::from_str(value.get()) {
        Ok(Value::String(text)) => text,
        _ => value.get().to_owned(),
    }
}

/// In the order in which they stand there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::verify::SignedTree;

    fn document(record: &str) -> ProofDocument {
        let signed = SignedTree {
            checkpoint: String::new(),
            public_key: String::new(),
            key_chain: Vec::new(),
        };
        let record = record.to_owned();
        ProofDocument { seq: 7, record, tree_size: 9, inclusion_proof: Vec::new(), signed }
    }

    #[test]
    fn nothing_that_is_in_a_record_ends_an_element_of_the_file() {
        let hostile = r#"{"seq":7,"actor":"</script><script>alert(1)</script><!--","details":{"a":"<img src=x onerror=alert(1)>\u202e"}}"#;
        let document = document(hostile);
        let file = proof_html(&document, "auditctl").expect("a file");
        let scripts = file.matches("<script").count();
        assert_eq!((scripts, file.matches("</script>").count()), (2, 2));
        assert!(!file.contains("<img") && !file.contains("<!--"), "{file}");
        let there = embedded_proof(file.as_bytes()).expect("the proof");
        assert_eq!(ProofDocument::parse(&there).expect("a proof"), document);
    }

    #[test]
    fn the_scripts_can_stand_in_an_html_file() {
        for text in [SCRIPT, STYLE] {
            let lower = text.to_ascii_lowercase();
            assert!(
                !lower.contains("</s") && !lower.contains("<!--") && !lower.contains("<script")
            );
            assert!(!lower.contains('\r'));
        }
    }

    #[test]
    fn a_file_with_two_proofs_is_none_and_neither_is_another_file() {
        let file = proof_html(&document("{}"), "auditctl").expect("a file");
        assert!(embedded_proof(file.as_bytes()).is_some());
        assert_eq!(embedded_proof(file.repeat(2).as_bytes()), None);
        assert_eq!(embedded_proof(file.trim_start_matches('<').as_bytes()), None);
        assert_eq!(embedded_proof(b"{}"), None);
    }
}
