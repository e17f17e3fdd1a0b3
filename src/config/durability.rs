//! What an acknowledgement means.

/// When an event counts as acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Durability {
    /// Once it is on disk (after fdatasync): it survives a power loss.
    #[default]
    Commit,
    /// Once it is in the write buffer: a crash may lose up to one
    /// `write_flush_interval` of acknowledged events.
    Interval,
}
