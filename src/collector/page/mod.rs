//! The page at `/`: its files, and what it asks for that nobody else did before.
//!
//! The files are in the program, and the same for all who ask. The page itself asks with a
//! token as any program does, and shows no more than that may see.

mod lean;
mod record;
mod status;
mod summary;

use std::borrow::Cow;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use super::gate::Caller;
use super::headers;
use super::reply::{App, error};
pub(super) use record::get_record;
pub(super) use status::{Looks, get_status};
pub(super) use summary::get_summary;

/// The file that `/` is.
const INDEX: &str = "index.html";

/// The page's files; a debug build reads them from the source instead.
#[derive(RustEmbed)]
#[folder = "src/collector/page/static/"]
struct Files;

/// The media types of its files, by how their names end. What is not here is not served.
const TYPES: &[(&str, &str)] = &[
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
];

/// The page, for a browser.
pub(super) fn index(headers: &HeaderMap) -> Response {
    file(INDEX, headers)
}

pub(super) async fn get_file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    file(&name, &headers)
}

/// Whoever signs out leaves no token behind that still opens anything.
pub(super) async fn end_session(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let visitor = match caller {
        Caller::Person(visitor) => visitor,
        Caller::Token(_) => {
            let text = "this token is no session's: there is none to end";
            return error(StatusCode::NOT_FOUND, "not_found", text);
        }
        Caller::Here { .. } | Caller::Stranger | Caller::Listener { .. } => {
            let text = "show the session's token: Authorization: Bearer <token>";
            return error(StatusCode::UNAUTHORIZED, "unauthorized", text);
        }
    };
    app.hub.sessions.end(&visitor.session, &*app.hub.log.options().clock);
    StatusCode::NO_CONTENT.into_response()
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((kind, file)) = media_type(name).zip(Files::get(name)) else {
        return error(StatusCode::NOT_FOUND, "not_found", "the page has no such file");
    };
    let tag = etag(&file.metadata.sha256_hash());
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let is_known = known.filter_map(|tags| tags.to_str().ok()).any(|tags| names(tags, &tag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (StatusCode::OK, Body::from(served(kind, file.data))).into_response()
    };
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    set.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    // It is asked each time whether it is still the same: a new version's files fit together.
    set.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // At `/` programs get something else.
    set.insert(header::VARY, HeaderValue::from_static("accept"));
    headers::of_page(set);
    response
}

/// What of a file is sent.
fn served(kind: &str, data: Cow<'static, [u8]>) -> Bytes {
    let is_code = kind.starts_with("text/javascript") || kind.starts_with("text/css");
    if let Ok(text) = std::str::from_utf8(&data)
        && is_code
    {
        return Bytes::from(lean::lean(text));
    }
    match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    }
}

/// What a file is, if it is one of the page's: a plain name in a flat folder.
fn media_type(name: &str) -> Option<&'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let (stem, end) = name.rsplit_once('.')?;
    let plain = !stem.is_empty() && !stem.starts_with('.') && name.bytes().all(is_plain);
    let kind = TYPES.iter().find(|(known, _)| *known == end);
    kind.filter(|_| plain).map(|(_, kind)| *kind)
}

/// Half of the hash is enough to tell two versions.
fn etag(sha256: &[u8; 32]) -> String {
    let mut tag = String::with_capacity(34);
    tag.push('"');
    sha256[..16].iter().for_each(|byte| tag.push_str(&format!("{byte:02x}")));
    tag.push('"');
    tag
}

/// Whether an `If-None-Match` names it (RFC 9110, 13.1.2); ours have no comma in them.
fn names(tags: &str, tag: &str) -> bool {
    tags.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_and_nothing_else() {
        let all: Vec<_> = Files::iter().collect();
        assert!(all.iter().any(|name| name == INDEX));
        for name in &all {
            let response = file(name, &HeaderMap::new());
            assert_eq!(response.status(), StatusCode::OK, "{name}: what is it?");
        }
        for name in [
            "",
            ".",
            "..",
            "index",
            "index.htm",
            "../mod.rs",
            "..%2fmod.rs",
            "mod.rs",
            ".html",
            "index.html/",
            "./index.html",
            "static/index.html",
            "index.html\0",
            "/etc/passwd",
        ] {
            assert_eq!(file(name, &HeaderMap::new()).status(), StatusCode::NOT_FOUND, "{name:?}");
        }
    }

    #[test]
    fn the_page_is_less_than_150_kb() {
        let sizes = Files::iter().map(|name| {
            let (kind, file) = media_type(&name).zip(Files::get(&name)).expect("served");
            served(kind, file.data).len()
        });
        let all: usize = sizes.sum();
        assert!(all > 50_000 && all < 150_000, "{all} bytes");
    }

    #[test]
    fn who_has_a_file_is_not_sent_it_again() {
        let first = file(INDEX, &HeaderMap::new());
        let tag = first.headers()[header::ETAG].clone();
        let text = tag.to_str().expect("a tag");
        for known in [text.to_owned(), format!("\"x\", W/{text}"), "*".to_owned()] {
            let mut asking = HeaderMap::new();
            asking.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&known).expect("plain"));
            let again = file(INDEX, &asking);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[header::ETAG], tag);
            assert!(again.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        }
        let mut asking = HeaderMap::new();
        asking.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(file(INDEX, &asking).status(), StatusCode::OK);
    }
}
