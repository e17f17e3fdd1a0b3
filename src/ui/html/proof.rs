//! The proof of a record as one file that checks itself.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{STYLE, policy, visible};
use crate::audit::read::verify::ProofDocument;
use crate::audit::tree::document::{DocumentError, Kind, check_head};

/// The checker is the one that the collector's page uses, and what shows its verdict.
const SCRIPT: &str =
    concat!(include_str!("../../collector/page/static/proof.js"), include_str!("proof-view.js"));

/// Between these stands the proof document, as base64: nothing in it can end the element.
const BEGIN: &str = "<script type=\"text/plain\" id=\"proof\">";
const END: &str = "</script>";
const GENERATOR: &str = "<meta name=\"generator\" content=\"";

#[derive(Template)]
#[template(path = "proof.html")]
struct Page<'a> {
    policy: String,
    style: &'static str,
    script: &'static str,
    made_by: &'a str,
    fields: Vec<(String, String)>,
    line: String,
    proof: String,
}

/// The file. `document` has been checked.
///
/// # Errors
/// [`askama::Error`]: what cannot be.
pub fn proof_html(document: &ProofDocument, made_by: &str) -> Result<String, askama::Error> {
    let page = Page {
        policy: policy(Some(SCRIPT)),
        style: STYLE,
        script: SCRIPT,
        made_by,
        fields: fields(&document.record),
        line: visible(&document.record),
        proof: STANDARD.encode(document.encode() + "\n"),
    };
    page.render()
}

/// What an HTML file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedProof {
    /// The proof of a record, as it stands in it.
    pub document: Vec<u8>,
    /// Whether the file is to the byte what this version writes for that proof: then a browser
    /// shows just that. Of any other file only the proof in it can be judged.
    pub is_whole: bool,
}

/// The proof of a record in such a file; `None` for any other file.
#[must_use]
pub fn embedded_proof(file: &[u8]) -> Option<EmbeddedProof> {
    let text = std::str::from_utf8(file).ok()?;
    let is_html = text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("<!doctype html>"));
    let (_, rest) = text.split_once(BEGIN).filter(|_| is_html)?;
    let (proof, after) = rest.split_once(END)?;
    // Two of them would be two proofs, of which a browser checks the first.
    if after.contains(BEGIN) {
        return None;
    }
    let document = STANDARD.decode(proof.trim_ascii()).ok()?;
    let is_proof = check_head(Kind::PROOF, &document);
    if !matches!(is_proof, Ok(()) | Err(DocumentError::Newer { .. })) {
        return None;
    }
    let made_by = text.split_once(GENERATOR).and_then(|(_, rest)| rest.split_once('"'));
    let made_by = made_by.map(|(made_by, _)| made_by).filter(|made_by| is_version(made_by));
    let again = ProofDocument::parse(&document).ok().zip(made_by);
    let again = again.and_then(|(document, made_by)| proof_html(&document, made_by).ok());
    Some(EmbeddedProof { is_whole: again.as_deref() == Some(text), document })
}

/// The program's name and a version: nothing that could tell a reader something.
fn is_version(made_by: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
    made_by.strip_prefix("auditctl ").is_some_and(|it| it.len() <= 40 && it.chars().all(plain))
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
        let file = proof_html(&document, "auditctl 0.2.0").expect("a file");
        let scripts = file.matches("<script").count();
        assert_eq!((scripts, file.matches("</script>").count()), (2, 2));
        assert!(!file.contains("<img") && !file.contains("<!--"), "{file}");
        let there = embedded_proof(file.as_bytes()).expect("the proof");
        assert!(there.is_whole);
        assert_eq!(ProofDocument::parse(&there.document).expect("a proof"), document);
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
        let file = proof_html(&document("{}"), "auditctl 0.2.0").expect("a file");
        assert!(embedded_proof(file.as_bytes()).is_some());
        assert_eq!(embedded_proof(file.repeat(2).as_bytes()), None);
        assert_eq!(embedded_proof(file.trim_start_matches('<').as_bytes()), None);
        assert_eq!(embedded_proof(b"{}"), None);
    }

    #[test]
    fn a_file_that_shows_something_else_is_told_from_the_one_that_was_written() {
        let file = proof_html(&document("{\"seq\":7,\"a\":1}"), "auditctl 0.2.0").expect("a file");
        let whole = |text: &str| embedded_proof(text.as_bytes()).map(|found| found.is_whole);
        assert_eq!(whole(&file), Some(true));
        for (this, that) in [
            ("not checked</h1>", "checked</h1>"),
            ("<main>", "<main><!-- x -->"),
            ("auditctl 0.2.0", "auditctl 0.2.0. Found genuine by the court"),
            ("<main>", "<script id=\"proof\" type=\"text/plain\"></script><main>"),
        ] {
            assert_eq!(whole(&file.replacen(this, that, 1)), Some(false), "{that}");
        }
    }

    #[test]
    fn a_file_with_anything_but_the_proof_of_a_record_in_it_is_none() {
        let file = proof_html(&document("{}"), "auditctl 0.2.0").expect("a file");
        let (before, rest) = file.split_once(BEGIN).expect("the proof");
        let (_, after) = rest.split_once(END).expect("its end");
        for other in [r#"{"type":"auditctl/consistency-proof","format":1}"#, "a checkpoint", "{}"] {
            let text = format!("{before}{BEGIN}{}{END}{after}", STANDARD.encode(other));
            assert_eq!(embedded_proof(text.as_bytes()), None, "{other}");
        }
    }
}
