//! Witnesses, in builds that can ask them and in those that cannot.

#[cfg(feature = "witness")]
mod with;
#[cfg(not(feature = "witness"))]
mod without;

#[cfg(feature = "witness")]
pub(super) use with::Witnesses;
#[cfg(not(feature = "witness"))]
pub(super) use without::Witnesses;
