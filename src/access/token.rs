//! One token, as it is stored: everything but its secret.

use serde::{Deserialize, Serialize};

use super::role::Role;
use crate::audit::tree::merkle::Hash;
use crate::clock::Timestamp;

/// A token's name is at most so long.
pub const MAX_NAME_CHARS: usize = 64;

/// A line of the token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What records and messages call it.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is valid; `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Events a second, twice as many at once; `None`: what
    /// `collector.token_rate` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Since when it is not valid any more. Its line stays, so that an attempt to
    /// use it is known for what it is, and its name stands for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// SHA-256 of the secret.
    pub sha256: Hash,
}

/// Whether a token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Valid,
    /// It was until its time ran out.
    Expired,
    /// It was until it was revoked.
    Revoked,
}

impl State {
    /// For people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Token {
    /// Whether it is valid at a time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> State {
        if self.revoked.is_some() {
            State::Revoked
        } else if self.expires.is_some_and(|at| at <= now) {
            State::Expired
        } else {
            State::Valid
        }
    }
}

/// Why a text is no token's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token's name is 1 to {MAX_NAME_CHARS} letters, digits and . _ - that begin with a letter or digit"
)]
pub struct NameError;

/// Whether it can be a token's name: it stands in records, lines and messages.
///
/// # Errors
/// When it cannot.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let fits = (1..=MAX_NAME_CHARS).contains(&name.len());
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits && begins && plain { Ok(()) } else { Err(NameError) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::digest;

    fn token() -> Token {
        Token {
            name: "ci".to_owned(),
            role: Role::Write,
            created: Timestamp::from_micros(1_000_000),
            expires: None,
            rate: None,
            revoked: None,
            sha256: digest(b"x"),
        }
    }

    #[test]
    fn a_token_ends_at_its_time_and_a_revoked_one_at_once() {
        let at = Timestamp::from_micros;
        assert_eq!(token().state(at(i64::MAX)), State::Valid);
        let token = Token { expires: Some(at(5)), ..token() };
        assert_eq!(token.state(at(4)), State::Valid);
        assert_eq!(token.state(at(5)), State::Expired);
        let token = Token { revoked: Some(at(3)), ..token };
        assert_eq!(token.state(at(1)), State::Revoked, "whatever the clock says");
    }

    #[test]
    fn a_line_has_only_what_there_is() {
        let line = serde_json::to_string(&token()).expect("plain");
        assert!(
            line.starts_with(
                r#"{"name":"ci","role":"write","created":"1970-01-01T00:00:01.000000Z","sha256":""#
            ),
            "{line}"
        );
        assert_eq!(serde_json::from_str::<Token>(&line).expect("reads back"), token());
        assert!(serde_json::from_str::<Token>(&line.replace("\"name\"", "\"nam\"")).is_err());
    }

    #[test]
    fn names_are_plain() {
        for name in ["ci", "a", "0", "web-1.example_x", &"n".repeat(MAX_NAME_CHARS)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-x", ".x", "a b", "a/b", "ä", "a\n", &"n".repeat(MAX_NAME_CHARS + 1)] {
            assert_eq!(check_name(name), Err(NameError), "{name:?}");
        }
    }
}
