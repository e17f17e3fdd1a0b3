//! What people and programs get to see: data in, text out. These renderers
//! neither print nor ask the environment; the collector uses them too.

mod health;
mod nagios;
pub mod printer;
mod prometheus;
mod style;
#[cfg(test)]
mod tests;

pub use health::{health_human, health_json};
pub use nagios::health_nagios;
pub use prometheus::prometheus;
pub use style::{Style, escape, paint};
