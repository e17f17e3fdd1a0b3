//! What people and programs get to see. The renderers turn data into text,
//! neither print nor ask the environment, and serve the collector too; only
//! [`printer`] prints: data to stdout, messages to stderr.

mod archive;
mod backup;
mod backup_list;
mod backups;
mod cells;
mod diff;
mod fleet;
mod health;
mod html;
mod key;
mod monitor;
mod nagios;
mod over_time;
pub mod printer;
mod prometheus;
mod proof;
mod query;
mod repair;
mod secret;
mod style;
#[cfg(test)]
mod tests;
mod tokens;
mod validate;
mod verify;
mod witness;

pub use archive::{archived_json, archived_text};
pub use backup::{
    There, backup_lacks_text, backup_made_text, backup_made_value, backup_nothing_new_text,
    backup_outlook_json, backup_outlook_text, backup_there_value, uploaded_text, uploaded_value,
};
pub use backup_list::{ListShown, backup_list_json, backup_list_text};
pub use backups::{
    cleanup_json, cleanup_text, drill_json, drill_text, restore_json, restore_plan_text,
    restore_text,
};
pub use diff::DiffShown;
pub use fleet::{
    fleet_drafted_text, fleet_list_json, fleet_list_text, fleet_report_text, fleet_verify_json,
    fleet_verify_text,
};
pub use health::{health_human, health_json, health_json_line};
pub use html::{
    Asked, EmbeddedProof, bad_backup_html, embedded_proof, fleet_report_html, proof_html,
    verified_backup_html, verify_html,
};
pub use key::{
    KeyShown, PrivateKey, key_json, key_text, replacing_json, replacing_text, rotate_plan_json,
    rotate_plan_text, rotated_json, rotated_text,
};
pub use monitor::{Feed, Live, live, monitor_json, monitor_json_line, monitor_text};
pub use nagios::{health_line, health_nagios, plugin_failure};
pub use over_time::{
    groups_over_time_ndjson, groups_over_time_text, histogram_csv, histogram_ndjson, histogram_text,
};
pub use prometheus::prometheus;
pub use proof::{ProofKey, growth_json, growth_text, proof_json, proof_text};
pub use query::{
    ROWS_A_TABLE, Table, groups_ndjson, groups_text, query_explained, records_chosen, records_table,
};
pub use repair::{RepairShown, repair_json, repair_text};
pub use secret::ask_secret;
pub use style::{Style, escape, paint};
pub use tokens::{token_value, tokens_json, tokens_text};
pub use validate::{Shown, validate_json, validate_text};
pub use verify::{
    checkpoint_json, checkpoint_text, verified_backup_json, verified_backup_text, verify_json,
    verify_text,
};
pub use witness::{with_witnessed, witnessed_text};
