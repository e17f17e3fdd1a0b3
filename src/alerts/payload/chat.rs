//! For Slack and Discord: nothing that came with an event may mention anybody,
//! link anywhere or change how the rest looks.

use serde_json::{Value, json};

use super::Sender;
use super::text::{Told, cut, told};
use crate::alerts::occurrence::Occurrence;

/// Slack's limits for a header and for a section's text, in characters.
const SLACK_HEADER: usize = 150;
const SLACK_TEXT: usize = 3_000;
/// Discord's limit for a message, in characters.
const DISCORD_CONTENT: usize = 2_000;

/// A message of blocks whose texts are `plain_text`: Slack reads no markup in those.
/// The fallback for notifications has its three special characters escaped.
pub(in crate::alerts) fn slack(occurrence: &Occurrence, sender: &Sender) -> Vec<u8> {
    let Told { title, facts } = told(occurrence, sender);
    // Slack reads no markup there; where a client did, these would mention nobody.
    let harmless = |value: &str| value.replace('<', "<\u{200b}").replace('@', "@\u{200b}");
    let lines: Vec<String> =
        facts.iter().map(|(name, value)| format!("{name}: {}", harmless(value))).collect();
    let escaped = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let plain = |text: &str, limit| -> Value {
        json!({ "type": "plain_text", "text": cut(text, limit), "emoji": false })
    };
    encoded(&json!({
        "text": cut(&escaped, SLACK_TEXT),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
        "blocks": [
            { "type": "header", "text": plain(&title, SLACK_HEADER) },
            { "type": "section", "text": plain(&lines.join("\n"), SLACK_TEXT) },
        ],
    }))
}

/// A message in which every character that Discord's markup knows is escaped, with
/// mentions and previews turned off besides.
pub(in crate::alerts) fn discord(occurrence: &Occurrence, sender: &Sender) -> Vec<u8> {
    const SUPPRESS_EMBEDS: u32 = 1 << 2;
    let Told { title, facts } = told(occurrence, sender);
    let lines = facts.iter().map(|(name, value)| format!("{name}: {}", without_markup(value)));
    let lines: Vec<String> = std::iter::once(without_markup(&title)).chain(lines).collect();
    let content = cut(&lines.join("\n"), DISCORD_CONTENT);
    encoded(&json!({
        "content": content.trim_end_matches('\\'),
        "allowed_mentions": { "parse": [] },
        "flags": SUPPRESS_EMBEDS,
    }))
}

fn without_markup(text: &str) -> String {
    // Characters of no width: a name behind @ is no name, a scheme no link.
    let text = text.replace('@', "@\u{200b}").replace("://", ":\u{200b}//");
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if "\\*_~`|<>#[]()-+!{}".contains(char) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn encoded(value: &Value) -> Vec<u8> {
    // A value always serializes.
    serde_json::to_vec(value).unwrap_or_default()
}
