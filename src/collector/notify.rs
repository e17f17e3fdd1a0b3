//! systemd: READY, STATUS, WATCHDOG, STOPPING. Without systemd nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::audit::AuditLog;
use crate::audit::status::Word;

pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("taking events")]);
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

fn tell(state: &[NotifyState<'_>]) {
    // Whoever started this without a notify socket does not want to know.
    let _ = sd_notify::notify(false, state);
}

/// Pings the watchdog as long as the *writer thread* moves: a hung disk must
/// not look well because this task is.
pub(super) async fn watchdog(log: AuditLog) {
    let mut micros = 0;
    let every = if sd_notify::watchdog_enabled(false, &mut micros) {
        Duration::from_micros(micros / 2)
    } else {
        Duration::from_secs(10)
    };
    let mut last = 0;
    loop {
        tokio::time::sleep(every).await;
        let beat = log.page().get(Word::HeartbeatBootMs);
        if beat != last {
            last = beat;
            let text = format!("{} records durable", log.page().get(Word::DurableSeq));
            tell(&[NotifyState::Watchdog, NotifyState::Status(&text)]);
        }
    }
}
