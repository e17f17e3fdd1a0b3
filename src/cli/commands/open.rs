//! `open`: the collector's page in this user's browser.

mod browser;

use clap::Args;
use serde_json::json;

use crate::access::{Role, is_well_formed};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::reach;
use crate::clock::Timestamp;
use crate::collector::client::{ClientError, Opened};

/// Open the collector's page in a browser, as this user.
///
/// Asks the running collector for a token that lasts an hour, and prints the page's address with
/// it. On a terminal with a display it also opens the browser. Whoever may query at the socket
/// can read the log on the page; whoever may only send sees how the log is. The token ends with
/// the collector.
#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Print the address, and open no browser
    #[arg(long)]
    print: bool,
}

pub(crate) fn run(context: &Context, args: &OpenArgs) -> Result<u8, CliError> {
    let settings = context.settings(&[])?;
    let mut client = reach::collector(&settings).map_err(refused)?;
    let opened = client.open().map_err(refused)?;
    // What the collector says goes to a terminal, and into a file for a browser.
    if !is_plain(&opened) {
        let text = "the collector's answer is no address, token, role and time";
        return Err(CliError::new("internal", Exit::Failed, text));
    }
    let Opened { url: address, token, role, expires } = &opened;
    // A browser sends what stands behind `#` to nobody.
    let url = format!("{address}#token={token}");
    if context.json {
        let document = json!({
            "url": url, "address": address, "token": token, "role": role, "expires": expires,
        });
        context.print(&document.to_string())?;
        return Ok(0);
    }
    context.print(&url)?;
    context.printer.note(&format!(
        "whoever has this address may do what you may on this page (role {role}) until {expires}"
    ));
    if args.print || !context.is_terminal() {
        return Ok(0);
    }
    match browser::open(&url) {
        Ok(()) => {}
        Err(why) => context.printer.note(&format!("no browser was opened: {why}")),
    }
    Ok(0)
}

fn refused(error: ClientError) -> CliError {
    let ClientError::Refused { kind, message, .. } = &error else { return error.into() };
    let (kind, message) = (kind.clone(), message.clone());
    match &*kind {
        "no_http" => CliError::new("no_http", Exit::Usage, message),
        "busy" => CliError::new("busy", Exit::Busy, message),
        "unknown_request" => CliError::from(error)
            .hint("the collector is of an earlier version: restart it with this one"),
        _ => error.into(),
    }
}

/// Whether it is what it should be, to the letter: nothing that a terminal or a browser would
/// take for more.
fn is_plain(opened: &Opened) -> bool {
    is_address(&opened.url)
        && is_well_formed(opened.token.as_bytes())
        && opened.token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && opened.role.parse::<Role>().is_ok()
        && opened.expires.parse::<Timestamp>().is_ok()
}

/// A scheme, a host, perhaps a port, and the path `/`.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.strip_suffix('/'));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_or_a_browser_would_take_for_more_is_refused() {
        let good = || Opened {
            token: crate::access::Secret::generate().expect("randomness").reveal().to_owned(),
            expires: "2026-11-28T13:05:00.000000Z".to_owned(),
            role: "read".to_owned(),
            url: "http://127.0.0.1:9750/".to_owned(),
        };
        assert!(is_plain(&good()));
        let script = "\"><script>alert(1)</script>".to_owned();
        for bad in [
            Opened { token: script.clone(), ..good() },
            Opened { token: String::new(), ..good() },
            Opened { role: "\u{1b}[2J".to_owned(), ..good() },
            Opened { expires: script.clone(), ..good() },
            Opened { url: format!("http://a/{script}/"), ..good() },
        ] {
            assert!(!is_plain(&bad), "{bad:?}");
        }
    }

    #[test]
    fn only_an_address_of_a_page_is_one() {
        for url in ["http://127.0.0.1:9750/", "https://audit.example.org:443/", "http://[::1]:80/"]
        {
            assert!(is_address(url), "{url}");
        }
        for url in [
            "",
            "http:///",
            "javascript:alert(1)/",
            "file:///etc/passwd/",
            "http://a/\"><script>/",
            "http://a b/",
            "http://a",
            "http://user@a/",
        ] {
            assert!(!is_address(url), "{url}");
        }
    }
}
