//! The program and the machine it runs on.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Inputs, Made, clean, places};
use crate::audit::LogPaths;
use crate::audit::state::status::{StatusSnapshot, Word};
use crate::built;

/// More than any file of /proc or /etc that is read here holds.
const MAX_BYTES: u64 = 1 << 20;
/// Lines of `/proc/<pid>/status` that say how a process is.
const PROCESS_LINES: &[&str] = &[
    "State",
    "Threads",
    "VmPeak",
    "VmSize",
    "VmHWM",
    "VmRSS",
    "VmSwap",
    "FDSize",
    "Uid",
    "Gid",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
];

fn read(inputs: &Inputs, path: &str) -> Result<String, String> {
    let bytes = inputs.fs.read(Path::new(path), MAX_BYTES);
    bytes
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| format!("{path}: {error}"))
}

pub(super) fn version(inputs: &Inputs) -> Made {
    let here = std::env::current_exe();
    let path = inputs.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    let mut on_path = Vec::new();
    for dir in std::env::split_paths(&path.unwrap_or_default()) {
        let program = dir.join("auditctl");
        if let Ok(meta) = inputs.fs.meta(&program)
            && meta.is_file
        {
            let own = here.as_ref().ok().and_then(|here| inputs.fs.meta(here).ok());
            on_path.push(json!({
                "path": program.display().to_string(),
                "bytes": meta.len,
                "is_this": own.is_some_and(|own| own.same_file(&meta)),
            }));
        }
    }
    super::json(&json!({
        "version": built::VERSION,
        "commit": built::COMMIT,
        "target": built::TARGET,
        "debug_build": cfg!(debug_assertions),
        "features": built::features(),
        "program": here.ok().map(|path| path.display().to_string()),
        "on_path": on_path,
    }))
}

pub(super) fn machine(inputs: &Inputs) -> Made {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let field = |path: &str, name: &str| {
        read(inputs, path).ok().and_then(|text| value_of(&text, name).map(str::to_owned))
    };
    let line = |path: &str| read(inputs, path).ok().map(|text| text.trim().to_owned());
    let cpus = std::thread::available_parallelism().map(usize::from).ok();
    super::json(&json!({
        "kernel": text(uname.release()),
        "kernel_build": text(uname.version()),
        "machine": text(uname.machine()),
        "distribution": field("/etc/os-release", "PRETTY_NAME"),
        "processor": field("/proc/cpuinfo", "model name"),
        "processors": cpus,
        "memory_total": field("/proc/meminfo", "MemTotal"),
        "memory_available": field("/proc/meminfo", "MemAvailable"),
        "swap_free": field("/proc/meminfo", "SwapFree"),
        "cgroup_memory_max": line("/sys/fs/cgroup/memory.max"),
        "load": line("/proc/loadavg"),
        "uptime_seconds": line("/proc/uptime"),
        "uid": rustix::process::geteuid().as_raw(),
        "limits": read(inputs, "/proc/self/limits").ok().map(lines),
    }))
}

/// `Name: value` or `NAME="value"`.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with(':') || rest.starts_with('='))
    })?;
    let value = line[name.len()..].trim_start().trim_start_matches([':', '=']);
    Some(value.trim().trim_matches('"'))
}

fn lines(text: String) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

pub(super) fn filesystems(inputs: &Inputs) -> Made {
    let mounts = read(inputs, "/proc/self/mountinfo")?;
    let mut all = Map::new();
    for (what, path) in places(&inputs.settings) {
        let mut entry = Map::new();
        entry.insert("path".to_owned(), json!(path.display().to_string()));
        match inputs.fs.space(&path) {
            Ok(space) => {
                entry.insert("total_bytes".to_owned(), json!(space.total));
                entry.insert("available_bytes".to_owned(), json!(space.available));
            }
            Err(error) => {
                entry.insert("problem".to_owned(), json!(error.to_string()));
            }
        }
        let absolute = std::env::current_dir().map_or(path.clone(), |here| here.join(&path));
        if let Some((point, kind, options)) = mounted_at(&mounts, &absolute) {
            entry.insert("mounted_at".to_owned(), json!(point));
            entry.insert("type".to_owned(), json!(kind));
            entry.insert("options".to_owned(), json!(clean::text(&options)));
        }
        all.insert(what.to_owned(), Value::Object(entry));
    }
    super::json(&all)
}

/// The mount that holds the path: the last of those with the longest fitting point.
/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda rw`
fn mounted_at(mounts: &str, path: &Path) -> Option<(String, String, String)> {
    let mut best: Option<(usize, (String, String, String))> = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(point), Some(options), Some(kind)) = (left.get(4), left.get(5), right.first())
        else {
            continue;
        };
        let point = point.replace("\\040", " ");
        if !path.starts_with(&point) || best.as_ref().is_some_and(|(len, _)| *len > point.len()) {
            continue;
        }
        let of_fs = right.get(2).copied().unwrap_or_default();
        let options = format!("{options} {of_fs}");
        best = Some((point.len(), (point, (*kind).to_owned(), options)));
    }
    best.map(|(_, found)| found)
}

pub(super) fn writer(inputs: &Inputs) -> Made {
    let path = LogPaths::new(&inputs.settings.log_dir).status();
    let page = StatusSnapshot::read(&path).map_err(|error| error.to_string())?;
    let pid = page.get(Word::Pid);
    if pid == 0 {
        return Err("the status page names no process".to_owned());
    }
    let status = read(inputs, &format!("/proc/{pid}/status"))
        .map_err(|error| format!("process {pid} is not to be seen: {error}"))?;
    let mut text = format!("Pid: {pid}\n");
    for line in status.lines() {
        if line.split_once(':').is_some_and(|(name, _)| PROCESS_LINES.contains(&name)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    for file in ["wchan", "limits"] {
        let found = read(inputs, &format!("/proc/{pid}/{file}")).unwrap_or_else(|error| error);
        text.push_str(&format!("\n{file}:\n{found}\n"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{mounted_at, value_of};
    use std::path::Path;

    #[test]
    fn the_longest_mount_point_that_fits_is_the_paths() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                      2 1 8:2 / /var rw,noatime shared:1 - xfs /dev/b rw,attr2\n\
                      3 1 8:3 / /variable rw - tmpfs c rw";
        let found = mounted_at(mounts, Path::new("/var/lib/auditctl")).expect("found");
        assert_eq!(found, ("/var".into(), "xfs".into(), "rw,noatime rw,attr2".into()));
        let root = mounted_at(mounts, Path::new("/srv")).expect("found");
        assert_eq!((&*root.0, &*root.1), ("/", "ext4"));
    }

    #[test]
    fn values_are_found_by_their_whole_name() {
        assert_eq!(value_of("MemTotalX: 1\nMemTotal:   8 kB\n", "MemTotal"), Some("8 kB"));
        assert_eq!(value_of("NAME=\"a\"\nPRETTY_NAME=\"b c\"", "PRETTY_NAME"), Some("b c"));
    }
}
