//! HTML files that need nothing else: no server, no network, no other file. What others wrote
//! stands in them as text, and what cannot be seen of it is made visible.

mod backup;
mod fleet;
mod proof;
mod report;
mod sheet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::style::escape;

pub use backup::{bad_backup_html, verified_backup_html};
pub use fleet::fleet_report_html;
pub use proof::{EmbeddedProof, embedded_proof, proof_html};
pub use report::{Asked, verify_html};

/// Of all files; light, dark and printed.
const STYLE: &str = include_str!("style.css");

/// What a file may do: run these scripts and show this style, and ask nobody for anything.
fn policy(script: Option<&str>) -> String {
    let of = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let scripts = script.map_or_else(|| "'none'".to_owned(), of);
    format!(
        "default-src 'none'; script-src {scripts}; style-src {}; base-uri 'none'; form-action 'none'",
        of(STYLE)
    )
}

/// Text that others wrote, with what cannot be seen made visible. The templates escape it for
/// HTML.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200d}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        ) || (c.is_whitespace() && c != ' ')
    };
    let text = escape(text);
    if !text.contains(hidden) {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_in_a_text_is_made_visible() {
        let text = "a\u{202e}b\u{200b}c\n\u{feff}\u{e0041}\u{a0}ä 漢";
        assert_eq!(visible(text), r"a\u{202e}b\u{200b}c\u{a}\u{feff}\u{e0041}\u{a0}ä 漢");
    }

    #[test]
    fn a_policy_names_what_may_run_and_nothing_else() {
        assert!(policy(None).contains("script-src 'none'"));
        let some = policy(Some("1"));
        assert!(some.contains("script-src 'sha256-a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s='"));
        assert!(some.starts_with("default-src 'none';"));
    }
}
