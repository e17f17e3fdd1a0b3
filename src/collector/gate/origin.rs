//! Whose page had a browser ask, and which machine was meant: by the request's headers.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};

/// Whether a browser sent it on behalf of a page of another site: they say so, and pages
/// cannot keep them from it.
pub(super) fn is_of_web_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    headers.contains_key(header::ORIGIN)
        || site.is_some_and(|site| !matches!(site, b"none" | b"same-origin"))
}

/// Whether somebody followed a link to the page: then it is the whole window that the answer
/// is for, and whoever set the link gets nothing of it. The page is the same for all.
pub(super) fn follows_link(request: &Request) -> bool {
    let says = |name, what: &[u8]| {
        request.headers().get(name).is_some_and(|value| value.as_bytes() == what)
    };
    request.method() == Method::GET
        && request.uri().path() == "/"
        && !request.headers().contains_key(header::ORIGIN)
        && says("sec-fetch-mode", b"navigate")
        && says("sec-fetch-dest", b"document")
}

/// Whether the collector's own page asks for one of its files: of scripts that are modules
/// browsers say where they come from.
pub(super) fn is_file_of_page(request: &Request) -> bool {
    request.uri().path().starts_with("/page/") && !is_of_other_page(request.headers())
}

/// Whether a browser sent it on behalf of any page but the collector's own.
pub(super) fn is_of_other_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| !matches!(site, b"none" | b"same-origin")) {
        return true;
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| {
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
    });
    let is_own = origin.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
    !is_own || origins.next().is_some()
}

/// Whether the request was meant for this machine: a name that an attacker's
/// DNS points here is not. Without Host it is no browser's (health checks by HTTP/1.0,
/// HAProxy's among them). An address is no name that DNS could point elsewhere.
pub(super) fn is_local_host(headers: &HeaderMap, by_address: bool) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return true };
    if hosts.next().is_some() {
        return false;
    }
    let Ok(host) = host.to_str() else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = host.parse::<SocketAddr>().map(|address| address.ip());
    if let Ok(ip) = address.or_else(|_| bare.parse::<IpAddr>()) {
        return by_address || ip.to_canonical().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    matches!(&*name, "localhost" | "")
}

#[cfg(test)]
mod tests;
