//! Output. [`printer`] decides once where it goes and how it looks; everything
//! else here turns values into text and touches nothing, so that the collector
//! can answer with the same words as the command line.

mod exposition;
mod families;
mod human;
mod json;
mod nagios;
pub mod printer;
#[cfg(test)]
mod tests;

pub use exposition::prometheus;
pub use human::{health_human, health_human_line};
pub use json::{health_json, health_json_line};
pub use nagios::{health_nagios, plugin_failure};
