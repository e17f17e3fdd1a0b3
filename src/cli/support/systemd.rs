//! What systemd knows of the units.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Inputs, Made};

/// Chosen properties: neither `Environment` nor `ExecStart`, which may hold secrets.
const PROPERTIES: &str = "Id,LoadState,UnitFileState,ActiveState,SubState,Result,NRestarts,\
    ExecMainStartTimestamp,ExecMainExitTimestamp,ExecMainCode,ExecMainStatus,StateChangeTimestamp,\
    MemoryCurrent,MemoryPeak,CPUUsageNSec,TasksCurrent,LimitNOFILE,WatchdogUSec,FragmentPath,User";
const TIMER_PROPERTIES: &str =
    "Id,LoadState,UnitFileState,ActiveState,LastTriggerUSec,NextElapseUSecRealtime,Result";
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) fn units(_: &Inputs) -> Made {
    let services = show(PROPERTIES, "auditctl*.service")?;
    let timers = show(TIMER_PROPERTIES, "auditctl*.timer")?;
    let text = format!("{}\n\n{}\n", services.trim(), timers.trim());
    if text.trim().is_empty() { Err("no auditctl unit is loaded".to_owned()) } else { Ok(text) }
}

fn show(properties: &str, units: &str) -> Result<String, String> {
    let mut child = Command::new("systemctl")
        .args(["show", "--no-pager", "--property", properties, units])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("systemctl: {error}"))?;
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            None => {
                // Already ended, or nobody's any more.
                let _ = child.kill();
                let _ = child.wait();
                return Err("systemctl did not answer".to_owned());
            }
        }
    };
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text).map_err(|error| error.to_string())?;
    }
    if status.success() { Ok(text) } else { Err(format!("systemctl show: {status}")) }
}
