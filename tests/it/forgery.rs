//! Forgeries: somebody who can write the log's directory, and has no key, tries to
//! make records vanish, change or appear. No verdict may pass over it.

mod questions;
mod since_last;
