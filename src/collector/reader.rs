//! Who reads records, for the budget and for the record of it.

use std::sync::Arc;

use super::followed::Followed;
use super::seats::Guest;
use crate::audit::Origin;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    /// By the system's word.
    pub(super) origin: Origin,
    /// The user's name, where it is a person with a session.
    pub(super) user: Option<String>,
    /// Whose share of the budget it takes.
    pub(super) guest: Guest,
    /// What it follows; `None` for who is recorded each time.
    pub(super) followed: Option<Arc<Followed>>,
}
