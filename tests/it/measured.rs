//! What docs/performance.md says about others is what was measured.

use std::path::Path;
use std::process::Command;

use crate::tools::missing;

#[test]
fn the_tables_beside_others_are_those_of_the_last_measurement() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Measures nothing: renders benches/peers/last.json and compares.
    let found = Command::new("python3")
        .args(["benches/peers/run.py", "--check"])
        .current_dir(root)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output();
    let Ok(output) = found else { return missing("python3") };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(root.join("docs/performance.md")).expect("the page");
    for mark in ["peers: begin", "peers: end", "soak: begin", "soak: end"] {
        assert_eq!(page.matches(&format!("<!-- {mark} -->")).count(), 1, "{mark}");
    }
}
