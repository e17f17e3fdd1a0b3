//! A browser, told of an address that holds a token.
//!
//! Every user of the machine can read the arguments of `xdg-open`, and those of the browser for
//! as long as it runs. So `xdg-open` gets the name of a file that only this user can read. The
//! file leads the browser to the address, and is removed once the browser has had time to read
//! it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fsio::handed::Handed;

/// How the file is called.
const NAME: (&str, &str) = ("auditctl-open-", ".html");
/// A browser that is not running yet takes its time.
const READ_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Opens it, or says why not. The address has no character that HTML knows.
pub(super) fn open(url: &str) -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Err("this is root, and browsers are not for root".to_owned());
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if set("DISPLAY").or_else(|| set("WAYLAND_DISPLAY")).is_none() {
        return Err("there is no display (DISPLAY, WAYLAND_DISPLAY)".to_owned());
    }
    let dir = set("XDG_RUNTIME_DIR").map(PathBuf::from);
    let dir = dir.ok_or("there is no place for a private file (XDG_RUNTIME_DIR)")?;
    let handed = Handed::new_in(&dir, NAME, leading_to(url).as_bytes(), READ_WITHIN * 6);
    let handed =
        handed.map_err(|error| format!("no private file in {}: {error}", dir.display()))?;
    let mut command = Command::new("xdg-open");
    command.arg(handed.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("xdg-open: {error}"))?;
    // It may be the browser itself by now, which runs on.
    let until = Instant::now() + READ_WITHIN;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait()
            && !status.success()
        {
            return Err(format!("xdg-open ended with {status}"));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn leading_to(url: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>auditctl</title>\
         <meta name=\"referrer\" content=\"no-referrer\">\
         <meta http-equiv=\"refresh\" content=\"0;url={url}\">\
         <p><a href=\"{url}\">Open the page</a></p></html>\n"
    )
}
