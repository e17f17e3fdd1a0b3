//! What a browser is told about answers, so that a page that is attacked can do little, and
//! other pages nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

/// Nothing but the page's own files, and nothing in the page itself: a record's text that
/// became markup would still be no script. Nobody frames it, and it sends no forms.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'none'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What a page of text and charts has no use for.
const FEATURES: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), \
                        gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), \
                        usb=()";

/// Of the page's files.
pub(super) fn of_page(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), FEATURES),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Of every answer: it is what its type says, is kept nowhere unless it says so itself, is
/// loaded by no other site's page, and where it leads to does not learn from where.
pub(super) fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
