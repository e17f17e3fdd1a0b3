//! What carries the library's requests, those for tokens too: our own HTTP client, and
//! no more of an answer than makes sense.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{
    AsyncRawResponse, ClientOptions, HttpClient, Method, Request, RetryOptions, Transport,
};
use futures::{StreamExt, future};

use super::super::error::StoreError;
use super::super::limits::Limits;
use super::super::wire::{self, Bound};

const RANGE: HeaderName = HeaderName::from_static("range");

/// The library's own transport would give up on a request after a minute, however fast
/// it goes, and its own retries would multiply with ours.
pub(super) fn options(url: &str, limits: &Limits) -> Result<ClientOptions, StoreError> {
    let inner = wire::http_client(url, limits)?;
    Ok(ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(Bounded { inner }))),
        ..ClientOptions::default()
    })
}

/// Takes no more of an answer than makes sense.
#[derive(Debug)]
struct Bounded {
    inner: reqwest::Client,
}

#[async_trait]
impl HttpClient for Bounded {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (status, headers, body) = self.inner.execute_request(request).await?.deconstruct();
        let mut left = if status.is_success() { bound(request) } else { Bound::DOCUMENT };
        let counted = body.map(move |piece| {
            let piece = piece?;
            left.after(&piece).map_err(|error| azure_core::Error::new(ErrorKind::Io, error))?;
            Ok(piece)
        });
        // A stream that went on after its error would be asked again.
        let counted = counted.scan(false, |failed, piece| {
            let over = std::mem::replace(failed, piece.is_err());
            future::ready((!over).then_some(piece))
        });
        Ok(AsyncRawResponse::new(status, headers, Box::pin(counted)))
    }
}

/// What a good answer to a request may be.
fn bound(request: &Request) -> Bound {
    let lists_blocks = request.url().query_pairs().any(|pair| pair.1 == "blocklist");
    match range(request.headers()) {
        _ if request.method() != Method::Get => Bound::DOCUMENT,
        Some(length) => Bound::bytes(length),
        None if lists_blocks => Bound::BLOCK_LIST,
        None => Bound::DOCUMENT,
    }
}

/// How long a range was asked for: `bytes=FIRST-LAST`.
fn range(headers: &Headers) -> Option<u64> {
    let (first, last) =
        headers.get_optional_str(&RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first)?.checked_add(1)
}
