//! Forgeries: somebody who can write the log's directory, and has no key, tries to
//! make records vanish, change or appear. No verdict may pass over it.

mod other_histories;
mod processes;
mod questions;
mod removed;
mod replays;
mod rfc6962;
mod since_last;
mod table;
mod tail;

use auditctl::audit::read::verify::{Anchor, Report, Request, verify};
use auditctl::audit::read::watch::Unwatched;

use crate::backups::{Home, read};

/// A closed log of several sealed segments and an active one, and a checkpoint of it
/// that is kept elsewhere.
struct Victim {
    home: Home,
    kept: Vec<u8>,
}

impl Victim {
    fn new() -> Self {
        let home = Home::new();
        home.record(300);
        home.record(10);
        let kept = read(&home.log_dir().join("audit.checkpoint"));
        Self { home, kept }
    }

    fn anchor(&self) -> Anchor {
        Anchor::parse("kept", &self.kept).expect("a checkpoint")
    }

    fn report(&self, request: &Request) -> Report {
        verify(&self.home.fs, &self.home.log_dir(), request, &Unwatched).expect("a report").0
    }

    /// Every way to ask, and whether it was content.
    fn verdicts(&self) -> Vec<(&'static str, Report)> {
        let anchors = vec![self.anchor()];
        vec![
            ("full", self.report(&Request::default())),
            ("quick", self.report(&Request { quick: true, ..Request::default() })),
            ("against", self.report(&Request { anchors, ..Request::default() })),
        ]
    }

    fn all_pass(&self) {
        for (name, report) in self.verdicts() {
            assert!(report.passed(), "{name}: {:#?}", report.findings);
        }
    }

    fn none_passes(&self, what: &str) {
        for (name, report) in self.verdicts() {
            assert!(!report.passed(), "{what}: {name} was content");
        }
    }
}
