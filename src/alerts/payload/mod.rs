//! What is sent: the same occurrence as JSON, for chat, and as a letter.
//!
//! An occurrence always gives the same bytes: a delivery that is tried again is
//! the same delivery.

pub(super) mod chat;
pub(super) mod json;
pub(super) mod letter;
#[cfg(test)]
mod tests;
mod text;

/// Whose log it is: said in every delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sender {
    /// This machine's name.
    pub host: String,
    /// The log's id.
    pub log_id: String,
}
