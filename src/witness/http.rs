//! Requests to witnesses: bounded in time and bytes, and no step further than the address
//! that the policy names. It is the operator's: private ones are allowed.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect, retry};

use crate::access::trust::{self, Trust};
use crate::coded::chain;

/// Of an answer so many bytes are read: more than a note has.
const MAX_ANSWER_BYTES: usize = 160 << 10;
/// Nobody is waited for longer than this because they say so.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// What a witness answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
    pub(super) retry_after: Option<Duration>,
}

/// A client for all witnesses: it keeps connections open.
pub(super) fn client(timeout: Duration, trust: Option<&Trust>) -> Result<Client, String> {
    let mut tls = trust::client(trust).map_err(|error| chain(&error))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("auditctl/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .timeout(timeout)
        .connect_timeout(timeout.mul_f64(0.8))
        .pool_max_idle_per_host(1)
        .build()
        .map_err(|error| chain(&error))
}

/// Where a witness takes checkpoints.
pub(super) fn prefix(url: &str) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let why = match () {
        () if !matches!(url.scheme(), "http" | "https") => "it is neither http nor https",
        () if url.host_str().is_none() => "it names no host",
        () if !url.username().is_empty() || url.password().is_some() => "it holds a password",
        () if url.query().is_some() || url.fragment().is_some() => "it has a query or a fragment",
        () => return Ok(url),
    };
    Err(format!("{}: {why}", url.host_str().unwrap_or_default()))
}

fn below(prefix: &Url, path: &str) -> Url {
    let mut url = prefix.clone();
    let base = prefix.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}/{path}"));
    url
}

/// Posts a request.
pub(super) async fn add_checkpoint(
    client: Client,
    prefix: Url,
    body: String,
) -> Result<Reply, String> {
    let request = client.post(below(&prefix, "add-checkpoint")).body(body);
    let response = request.send().await.map_err(|error| chain(&error.without_url()))?;
    read(response).await
}

/// Asks for the newest checkpoint of a log that the witness has.
pub(super) async fn checkpoint(
    client: Client,
    prefix: Url,
    origin_hash: &str,
) -> Result<Reply, String> {
    let request = client.get(below(&prefix, &format!("{origin_hash}/checkpoint")));
    let response = request.send().await.map_err(|error| chain(&error.without_url()))?;
    read(response).await
}

async fn read(mut response: Response) -> Result<Reply, String> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    let mut reply = Reply {
        status: response.status().as_u16(),
        content_type: header(CONTENT_TYPE).unwrap_or_default().to_owned(),
        retry_after: retry_after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)),
        body: Vec::new(),
    };
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error.without_url()))? {
        if reply.body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(format!("its answer has more than {MAX_ANSWER_BYTES} bytes"));
        }
        reply.body.extend_from_slice(&chunk);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_prefix_with_or_without_a_slash_and_holds_no_secret() {
        for url in ["https://w.example/a", "https://w.example/a/", "http://127.0.0.1:9752"] {
            let prefix = prefix(url).expect(url);
            let posted = below(&prefix, "add-checkpoint").to_string();
            assert_eq!(posted, format!("{}/add-checkpoint", url.trim_end_matches('/')));
        }
        for url in [
            "w.example",
            "ftp://w.example/",
            "https://a:b@w.example/",
            "https://w.example/?x=1",
            "",
        ] {
            let error = prefix(url).expect_err(url);
            assert!(!error.contains("a:b"), "{error}");
        }
    }
}
