//! What people and programs read: stdout is data, stderr is messages. The
//! renderers are pure functions from data to text.

mod health;
mod metrics;
pub mod printer;

pub use health::{health_human, health_json, health_nagios};
pub use metrics::prometheus;
