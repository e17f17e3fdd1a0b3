//! The guard before every connection that an alert makes: no request of ours may
//! be turned against what only this machine can reach (SSRF).
//!
//! A [`Target`] is a web address or mail server that was found good as it is
//! written. [`Guard::resolve`] then looks its name up once, checks every address
//! that it has, and gives out those: they are connected to, and nothing else is
//! looked up, so that an answer that changes between the check and the use
//! changes nothing.

mod address;
mod allow;
#[cfg(test)]
mod cases;
mod resolve;
mod target;

pub use address::{Class, canonical, classify};
pub use allow::{AllowError, AllowList};
pub use resolve::{Guard, Lookup, Pinned, ResolveError, SystemLookup};
pub use target::{Host, Policy, Refusal, Target};
