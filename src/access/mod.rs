//! Who may use the collector from elsewhere: tokens and what each may do, and the
//! certificate that the collector shows.
//!
//! Nothing here serves anybody: the file of tokens is read and changed, a secret
//! is told from a mistyped one, a certificate and its key are loaded. The
//! collector asks; `auditctl token` changes. `trust` is for those who send to others.

mod role;
mod secret;
mod token;
mod token_file;
#[cfg(any(feature = "alerts", feature = "witness"))]
pub(crate) mod trust;

pub mod tls;

pub use role::{Right, Role};
pub use secret::{Secret, digest, is_well_formed};
pub use token::{MAX_NAME_CHARS, NameError, State, Token, check_name};
pub(crate) use token_file::MAX_BYTES as MAX_TOKEN_FILE_BYTES;
pub use token_file::{
    FirstTokenFor, MAX_TOKENS, TokenFileError, add_token, read_tokens, remove_token, revoke_token,
};
