//! What witnesses say of a checkpoint.

use super::style::escape;
use crate::audit::read::verify::Witnessed;
use crate::units::count;

/// Rows of a report, for people; nothing where no policy was asked about.
#[must_use]
pub fn witnessed_text(witnessed: Option<&Witnessed>) -> String {
    let Some(witnessed) = witnessed else { return String::new() };
    let quorum = if witnessed.quorum_met { "quorum met" } else { "quorum NOT met" };
    let covers = count(witnessed.tree_size, "record");
    let mut text = format!("  {:<13} {quorum} by the checkpoint over {covers}\n", "witnesses");
    for one in &witnessed.witnesses {
        let says = match (one.standing, one.cosigned_at) {
            (_, Some(at)) => format!("cosigned it on {at}"),
            ("wrong", _) => "has a cosignature under it that does not fit".to_owned(),
            ("unsupported", _) => {
                "has a key of an algorithm that this version does not know".to_owned()
            }
            _ => "did not cosign it".to_owned(),
        };
        text.push_str(&format!("  {:<13} {} {says}\n", "", escape(&one.name)));
    }
    let alone = witnessed.log_alone.map(|alone| match alone {
        0 => "the quorum covers every signed record".to_owned(),
        1 => "1 record is signed by the log alone: no quorum covers it".to_owned(),
        _ => format!("{alone} records are signed by the log alone: no quorum covers them"),
    });
    if let Some(alone) = alone {
        text.push_str(&format!("  {:<13} {alone}\n", ""));
    }
    text
}

/// A proof's JSON object, with this as one more member. The object itself stays as it
/// is, to the byte.
#[must_use]
pub fn with_witnessed(object: &str, witnessed: &Witnessed) -> String {
    let said = serde_json::to_string(witnessed).unwrap_or_default();
    match object.trim_end().strip_suffix('}') {
        Some(open) => format!("{open},\"witnessed\":{said}}}"),
        None => object.to_owned(),
    }
}
