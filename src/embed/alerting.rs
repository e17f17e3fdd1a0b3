//! Alerts from inside of a service.

pub use crate::alerts::{Alerts, AlertsError, Plan, PlanError, PlanErrors};
