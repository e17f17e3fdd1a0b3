//! Records: one event, checked, redacted and encoded as the line that is stored.
//!
//! The lowest folder of the engine. It may use `crate::clock`, `crate::field_path` and other
//! modules below the engine, and nothing of the other six folders. Nothing here opens the
//! log; the redaction key is the only file that it reads.

pub mod event;
pub(in crate::audit) mod head;
pub(in crate::audit) mod id;
pub(in crate::audit) mod redact;
pub(in crate::audit) mod refusal;
pub(in crate::audit) mod same;
pub mod sanitize;
pub(crate) mod secret;
mod stored;

pub(crate) use stored::push_string;
pub use stored::{
    EncodedOrigin, ImportId, Origin, Record, RecordLineError, Via, assemble, check_line,
    encode_body, peek_seq, peek_times,
};
