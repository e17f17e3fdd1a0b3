//! Nagios itself: the object definitions that are shipped, checked and run by it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::serving::Serving;
use crate::support::{Dir, eventually, missing};

/// What a site has already: the objects that ours refers to.
const SITE: &str = "
define timeperiod {
    timeperiod_name 24x7
    alias always
    sunday 00:00-24:00
    monday 00:00-24:00
    tuesday 00:00-24:00
    wednesday 00:00-24:00
    thursday 00:00-24:00
    friday 00:00-24:00
    saturday 00:00-24:00
}
define command {
    command_name notify
    command_line /bin/true
}
define contact {
    contact_name nagiosadmin
    host_notification_period 24x7
    service_notification_period 24x7
    host_notification_options n
    service_notification_options n
    host_notification_commands notify
    service_notification_commands notify
}
define host {
    host_name localhost
    address 127.0.0.1
    max_check_attempts 1
    active_checks_enabled 0
    check_period 24x7
    contacts nagiosadmin
    notification_interval 0
    notification_period 24x7
}
";

struct Nagios(Child);

impl Drop for Nagios {
    fn drop(&mut self) {
        // Its worker processes end when it does.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Where Debian has it; not on everybody's PATH.
const NAGIOS: &str = "/usr/sbin/nagios4";

fn there() -> bool {
    let found = Path::new(NAGIOS).exists();
    if !found {
        missing("nagios4");
    }
    found
}

/// A configuration with our objects as shipped, but for paths and the unit of
/// time, which is a second here and a minute there.
fn configure(dir: &Dir) -> String {
    let home = dir.path().display();
    let objects = include_str!("../../packaging/nagios/auditctl.cfg")
        .replace("/opt/auditctl/bin/auditctl", env!("CARGO_BIN_EXE_auditctl"))
        .replace("--config /etc/auditctl/auditctl.toml", &format!("--log-dir {home}/logs"));
    std::fs::create_dir_all(dir.path().join("results")).expect("directory");
    std::fs::write(dir.path().join("objects.cfg"), objects + SITE).expect("written");
    let main = format!(
        "log_file={home}/nagios.log\ncfg_file={home}/objects.cfg\n\
         object_cache_file={home}/objects.cache\nstatus_file={home}/status.dat\n\
         state_retention_file={home}/retention.dat\ntemp_file={home}/nagios.tmp\n\
         temp_path={home}\ncheck_result_path={home}/results\ncommand_file={home}/nagios.cmd\n\
         query_socket={home}/nagios.qh\nlock_file={home}/nagios.lock\n\
         nagios_user=root\nnagios_group=root\ncheck_external_commands=0\ninterval_length=1\n\
         status_update_interval=1\nuse_syslog=0\nenable_notifications=0\n\
         illegal_macro_output_chars=`~$&|'\"<>\n"
    );
    let path = dir.path().join("nagios.cfg");
    std::fs::write(&path, main).expect("written");
    path.to_str().expect("utf-8").to_owned()
}

/// The service in Nagios' own status file, at one moment.
struct Service(String);

impl Service {
    fn now(dir: &Dir) -> Option<Self> {
        let text = std::fs::read_to_string(dir.path().join("status.dat")).ok()?;
        text.split("servicestatus {").nth(1).map(|service| Self(service.to_owned()))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
    }
}

/// Waits until the service is as it should be: as it is then.
fn service_that(what: &str, dir: &Dir, is_so: impl Fn(&Service) -> bool) -> Service {
    let mut seen = None;
    eventually(what, || {
        seen = Service::now(dir).filter(&is_so);
        seen.is_some()
    });
    seen.expect("seen just now")
}

/// Performance data as the plugin guidelines have it: `'label'=value[unit];…`.
fn performance(data: &str) -> Vec<(String, f64)> {
    data.split_whitespace()
        .map(|part| {
            let (label, value) = part.split_once('=').expect(part);
            let number = value.split(';').next().expect(part);
            let number = number.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
            (label.trim_matches('\'').to_owned(), number.parse().expect(part))
        })
        .collect()
}

#[test]
fn nagios_accepts_the_shipped_objects_and_shows_what_the_plugin_says() {
    if !there() || !rustix::process::getuid().is_root() {
        return;
    }
    let dir = Dir::new();
    let configuration = configure(&dir);
    let checked = Command::new(NAGIOS).args(["-v", &configuration]).output().expect("nagios4 runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}");
    assert!(said.contains("Total Warnings: 0") && said.contains("Total Errors:   0"), "{said}");

    let collector = Serving::start(&dir, "");
    collector.connect().ask(r#"{"event_type":"login"}"#);
    let child = Command::new(NAGIOS)
        .arg(&configuration)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nagios4 starts");
    let _nagios = Nagios(child);
    let service = service_that("the check is OK", &dir, |service| {
        service.field("has_been_checked") == Some("1")
            && service.field("current_state") == Some("0")
    });
    let output = service.field("plugin_output").expect("output");
    assert!(output.starts_with("AUDIT OK - "), "{output}");
    let data = performance(service.field("performance_data").expect("performance data"));
    assert!(data.iter().any(|(label, value)| label == "events" && *value == 1.0), "{data:?}");
    assert!(data.iter().any(|(label, _)| label == "write_buffer"), "{data:?}");

    collector.kill_nine();
    // On a busy machine it may have been critical before, for being slow.
    service_that("the check is critical, as the writer died", &dir, |service| {
        service.field("current_state") == Some("2")
            && service.field("plugin_output").is_some_and(|output| output.contains("died"))
    });
}
