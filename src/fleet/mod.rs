//! A fleet: many logs in one archive, checked together with public keys only.
//!
//! `verify` checks every log of a bucket as a restore would, and more: every epoch, every
//! signed head, every object of the tables, and whether anything is there that should not be,
//! or is not there that should. What there has to be says a `Roster`, which an operator
//! signs. What it found before is in a `State`, by which a bucket that was rolled back is
//! noticed, and which spares reading what has not changed.

mod acknowledged;
mod budget;
mod check;
mod draft;
mod exam;
mod finding;
mod heads;
mod inventory;
mod judge;
mod list;
mod look;
mod memory;
mod prove;
mod report;
mod roster;
mod seen_tails;
mod state;
mod strays;
mod tables;
mod verify;
mod versions;

pub use acknowledged::Acknowledged;
pub use budget::Most;
pub use draft::{Drafted, draft};
pub use finding::{Evidence, Finding, FindingKind, Severity};
pub use list::{FleetList, LogRow, list};
pub use prove::{Proven, Wanted, prove};
pub use report::{EpochReport, LogReport};
pub use roster::{
    Acknowledgement, Expected, MAX_ROSTER_BYTES, Roster, RosterError, Silence, What, check_name,
};
pub use seen_tails::SeenTails;
pub use state::{SavedLog, SeenRoster, State, StateError, Verified};
pub use verify::{Fleet, Request, verify};
pub use versions::Versions;
