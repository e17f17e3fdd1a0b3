//! An e-mail: plain text, one subject line, the same Message-ID whenever it is sent.

use lettre::message::{Mailbox, MessageBuilder, SinglePart};
use lettre::{Message, error::Error as MessageError};
use sha2::{Digest, Sha256};

use super::Sender;
use super::text::{Told, cut, told};
use crate::alerts::occurrence::Occurrence;
use crate::units::hex;

const MAX_SUBJECT_CHARS: usize = 150;

/// From whom, to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The sender.
    pub from: Mailbox,
    /// The recipients.
    pub to: Vec<Mailbox>,
}

/// The message. A receiver that knows its Message-ID already may drop it.
pub(in crate::alerts) fn letter(
    occurrence: &Occurrence,
    sender: &Sender,
    envelope: &Envelope,
) -> Result<Message, MessageError> {
    let Told { title, facts } = told(occurrence, sender);
    let lines: Vec<String> =
        facts.iter().map(|(name, value)| format!("{name:<10} {value}")).collect();
    let id = Sha256::digest(occurrence.id.as_bytes());
    let id = hex(&id[..16]);
    let date = std::time::UNIX_EPOCH
        + std::time::Duration::from_secs(u64::try_from(occurrence.at.unix_seconds()).unwrap_or(0));
    let mut builder: MessageBuilder = Message::builder()
        .from(envelope.from.clone())
        .subject(cut(&title, MAX_SUBJECT_CHARS))
        .date(date)
        .message_id(Some(format!("<{id}@auditctl>")));
    for recipient in &envelope.to {
        builder = builder.to(recipient.clone());
    }
    builder.singlepart(SinglePart::plain(format!("{title}\n\n{}\n", lines.join("\n"))))
}
