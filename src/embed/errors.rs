//! The parts that errors are made of, for callers that need more than an error's text.

pub use crate::audit::RedactKeyError;
pub use crate::audit::files::manifest::ManifestError;
pub use crate::audit::keys::KeysError;
pub use crate::audit::keys::histories::{Contradiction, History};
pub use crate::audit::keys::signer::KeyError;
pub use crate::audit::read::error::Known;
pub use crate::audit::record::sanitize::DetailsError;
pub use crate::audit::tree::document::DocumentError;
pub use crate::clock::TimestampError;
pub use crate::json_place::JsonError;
