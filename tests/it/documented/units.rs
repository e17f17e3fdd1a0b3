//! What `systemctl` would do with the units, without systemd: their commands are run, with
//! their environment, in order.

use rustix::process::Signal;

use super::sandbox::Sandbox;

/// Whether that line is done here.
pub(super) fn is_about(command: &str) -> bool {
    command.starts_with("systemctl ") || command.contains("&& systemd-sysusers")
}

pub(super) fn run(sandbox: &mut Sandbox, place: &str, line: &str) {
    for command in line.split("&&").map(str::trim) {
        let words: Vec<&str> = command.split_whitespace().take_while(|word| *word != "#").collect();
        match words[..] {
            ["systemctl", "daemon-reload"] => {}
            // Making users needs root; that the file is right systemd says itself.
            ["systemd-sysusers"] if sandbox.has("systemd-sysusers") => {
                let check = "systemd-sysusers --dry-run /usr/lib/sysusers.d/auditctl.conf";
                sandbox.command(place, check, &[], 0);
            }
            ["systemd-sysusers"] => {}
            ["systemctl", "enable", "--now", ref units @ ..] => {
                units.iter().for_each(|unit| enable(sandbox, place, unit));
            }
            ["systemctl", "start", ref units @ ..] => {
                units.iter().for_each(|unit| start(sandbox, place, unit));
            }
            ["systemctl", "stop", "auditctl.service"] => sandbox.stop(),
            ["systemctl", "restart", "auditctl.service"] => {
                sandbox.stop();
                start(sandbox, place, "auditctl.service");
            }
            ["systemctl", "reload", "auditctl.service"] => sandbox.signal(Signal::HUP),
            ["systemctl", ..] => panic!("{place}: {command} is not known here: mark it"),
            _ => {
                sandbox.command(place, command, &[], 0);
            }
        }
    }
}

/// A service is started; a timer has to be there with its service, and waits.
fn enable(sandbox: &mut Sandbox, place: &str, unit: &str) {
    let Some(name) = unit.strip_suffix(".timer") else {
        start(sandbox, place, unit);
        return;
    };
    for file in [unit, &format!("{name}.service")] {
        let path = sandbox.path(&format!("etc/systemd/system/{file}"));
        assert!(path.exists(), "{place}: {file} is not installed");
    }
}

fn start(sandbox: &mut Sandbox, place: &str, unit: &str) {
    let path = sandbox.path(&format!("etc/systemd/system/{unit}"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{place}: {unit} is not installed: {error}"));
    let values = |key: &str| {
        let prefix = format!("{key}=");
        text.lines().filter_map(move |line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    for directory in values("StateDirectory") {
        std::fs::create_dir_all(sandbox.path(&format!("var/lib/{directory}"))).expect("directory");
    }
    for directory in values("RuntimeDirectory") {
        std::fs::create_dir_all(sandbox.path(&format!("run/{directory}"))).expect("directory");
    }
    let set: Vec<String> = values("Environment").map(|value| sandbox.here(&value)).collect();
    let set = set.join(" ");
    let allowed: Vec<i32> =
        values("SuccessExitStatus").filter_map(|code| code.parse().ok()).collect();
    for command in values("ExecStart") {
        // The units name the program by its place; which one is meant is clear.
        let command = format!("env {set} {command}");
        if values("Type").any(|kind| kind == "notify") {
            sandbox.serve(&command);
            continue;
        }
        let allowed: Vec<String> = allowed.iter().map(|code| format!("[ $? = {code} ]")).collect();
        let line = if allowed.is_empty() {
            command
        } else {
            format!("{command} || {}", allowed.join(" || "))
        };
        sandbox.command(&format!("{place} {unit}"), &line, &[], 0);
    }
}
