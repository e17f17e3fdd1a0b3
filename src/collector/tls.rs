//! HTTPS: the handshake of one connection.

#[cfg(feature = "tls")]
mod with_rustls;
#[cfg(not(feature = "tls"))]
mod without;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
pub(super) use with_rustls::Acceptor;
#[cfg(not(feature = "tls"))]
pub(super) use without::Acceptor;

/// A handshake takes a few round trips; `collector.read_timeout` may be less.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing else speaks HTTPS"))]
pub(super) const MAX_HANDSHAKE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing else speaks HTTPS"))]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTls {
    /// The peer spoke HTTP without TLS; it was told.
    Plain,
    /// It did not end in time.
    Slow,
    /// The peer connected and left: a probe of the port.
    Left,
    /// The two do not agree.
    Failed(String),
}

/// Tells a peer that spoke plain HTTP what is wanted. As far as it listens: what
/// fails here is its loss.
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing else speaks HTTPS"))]
async fn answer_plainly(mut stream: TcpStream) {
    const BODY: &str = "{\"error\":{\"kind\":\"https_required\",\
                        \"message\":\"this port speaks HTTPS: use https://\"}}\n";
    // What has come is taken first: closing with it unread would reset the
    // connection, and the answer be lost.
    let mut taken = [0; 4096];
    let _ = stream.read(&mut taken).await;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.shutdown().await.is_ok() {
        while stream.read(&mut taken).await.is_ok_and(|read| read > 0) {}
    }
}
