//! HTTP: one POST to an address that was checked, and no step further.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect, retry};

use super::{Attempt, MAX_ANSWER_BYTES, SHOWN_CHARS, Trouble};
use crate::access::trust::{self, Trust};
use crate::alerts::guard::{Guard, Host, Pinned, ResolveError, Target};
use crate::coded::{chain, shown};

/// Nobody is waited for longer than this because they say so.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// What is posted.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// Its media type.
    pub content_type: &'static str,
    /// Headers beside it.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Posts, once. The whole of it ends within `timeout`.
pub(in crate::alerts) async fn post(
    guard: &Guard,
    target: &Target,
    trust: Option<&Trust>,
    (post, timeout): (Post, Duration),
) -> Attempt {
    let begun = tokio::time::Instant::now();
    let addresses = match guard.resolve(target, timeout).await {
        Ok(addresses) => addresses,
        Err(ResolveError::Refused(refusal)) => {
            return Attempt::failed(Trouble::Refused(refusal.to_string()));
        }
        Err(error) => return Attempt::failed(Trouble::later(error.to_string())),
    };
    let left = timeout.saturating_sub(begun.elapsed());
    let sending = async {
        let client = client(target, &addresses, (trust, left))?;
        let url = target.url.clone().ok_or("no web address")?;
        let headers = headers(&post)?;
        client
            .post(url)
            .headers(headers)
            .body(post.body)
            .send()
            .await
            .map_err(|error| chain(&error.without_url()))
    };
    let response = match tokio::time::timeout(left, sending).await {
        Ok(Ok(response)) => response,
        Ok(Err(reason)) => return Attempt::failed(Trouble::later(reason)),
        Err(_) => {
            let to = target.to_string();
            return Attempt::failed(Trouble::later(format!("{to} did not answer in time")));
        }
    };
    let address = response.remote_addr();
    if let Some(other) = address.filter(|address| !addresses.contains(address)) {
        let reason = format!("connected to {other}, which was not checked");
        return Attempt::failed(Trouble::Refused(reason));
    }
    let status = response.status();
    let retry_after = retry_after(&response);
    let left = timeout.saturating_sub(begun.elapsed());
    // The status is said; a body that does not come changes nothing.
    let body = tokio::time::timeout(left, beginning(response)).await.unwrap_or_default();
    let result = judge(status, retry_after, &body);
    Attempt { address, answer: Some(format!("HTTP {}", status.as_u16())), result }
}

/// A client that can reach these addresses and nothing else: no proxy, no
/// redirects, no names but this one, no cookies, no compression.
fn client(
    target: &Target,
    addresses: &[SocketAddr],
    (trust, timeout): (Option<&Trust>, Duration),
) -> Result<Client, String> {
    let host = match &target.host {
        Host::Name(name) => name.clone(),
        // Not asked for.
        Host::Address(_) => String::new(),
    };
    let mut builder = Client::builder()
        .user_agent(concat!("auditctl/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Pinned { host, addresses: addresses.to_vec() })
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        // Shared by the addresses: one that does not answer leaves time for the next.
        .connect_timeout(timeout.mul_f64(0.8))
        .http1_only()
        .https_only(!target.plain)
        .pool_max_idle_per_host(0);
    if !target.plain {
        let mut config = trust::client(trust).map_err(|error| chain(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        builder = builder.tls_backend_preconfigured(config);
    }
    builder.build().map_err(|error| chain(&error))
}

fn headers(post: &Post) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(post.content_type));
    for (name, value) in &post.headers {
        let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// The beginning of the body, and no more of it than that.
async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = MAX_ANSWER_BYTES - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            Ok(None) | Err(_) => break,
        }
    }
    body
}

/// In seconds only: the other form is a date by the other end's clock.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn judge(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Result<(), Trouble> {
    if status.is_success() {
        return Ok(());
    }
    let said = shown(&String::from_utf8_lossy(body), SHOWN_CHARS);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let code = status.as_u16();
    if status.is_redirection() {
        return Err(Trouble::Refused(format!("HTTP {code}: redirects are not followed")));
    }
    let reason = format!("HTTP {code}{said}");
    match code {
        // A secret that was changed or revoked is for an operator to mend: what waits
        // then is told. And whoever answers beside HTTP has not said no.
        ..=199 | 401 | 403 | 407 | 408 | 425 | 429 | 500.. => {
            Err(Trouble::Temporary { reason, retry_after })
        }
        _ => Err(Trouble::Permanent(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_received_tried_again_given_up_or_refused() {
        for (code, expected) in [
            (200, "received"),
            (202, "received"),
            (204, "received"),
            (301, "refused"),
            (307, "refused"),
            (400, "given up"),
            (401, "again"),
            (403, "again"),
            (407, "again"),
            (101, "again"),
            (404, "given up"),
            (410, "given up"),
            (408, "again"),
            (425, "again"),
            (429, "again"),
            (500, "again"),
            (503, "again"),
            (599, "again"),
        ] {
            let status = StatusCode::from_u16(code).expect("a status");
            let found = match judge(status, Some(Duration::from_secs(7)), b"why") {
                Ok(()) => "received",
                Err(Trouble::Refused(_)) => "refused",
                Err(Trouble::Permanent(reason)) => {
                    assert_eq!(reason, format!("HTTP {code}: why"));
                    "given up"
                }
                Err(Trouble::Temporary { retry_after, .. }) => {
                    assert_eq!(retry_after, Some(Duration::from_secs(7)));
                    "again"
                }
            };
            assert_eq!(found, expected, "{code}");
        }
    }
}
