//! By rustls.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{MAX_HANDSHAKE, NoTls, answer_plainly};
use crate::access::tls::Identity;
use crate::clock::Timestamp;

/// A TLS connection begins with a record of this type.
const HANDSHAKE: u8 = 22;

/// Accepts with the certificate of the moment.
#[derive(Debug)]
pub(in crate::collector) struct Acceptor(RwLock<Identity>);

impl Acceptor {
    pub(in crate::collector) fn new(identity: Identity) -> Self {
        Self(RwLock::new(identity))
    }

    /// For new connections; those that are open go on.
    pub(in crate::collector) fn replace(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    pub(in crate::collector) fn expires(&self) -> Timestamp {
        self.0.read().unwrap_or_else(PoisonError::into_inner).expires()
    }

    pub(in crate::collector) fn begins(&self) -> Timestamp {
        self.0.read().unwrap_or_else(PoisonError::into_inner).begins()
    }

    pub(in crate::collector) fn host(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).host()
    }

    /// The handshake, from the first byte to its end within the limit.
    pub(in crate::collector) async fn accept(
        &self,
        stream: TcpStream,
        within: Duration,
    ) -> Result<TlsStream<TcpStream>, NoTls> {
        let config = self.0.read().unwrap_or_else(PoisonError::into_inner).config();
        let handshake = async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(0) => return Err(NoTls::Left),
                Ok(_) if first[0] != HANDSHAKE && first[0].is_ascii_alphabetic() => {
                    answer_plainly(stream).await;
                    return Err(NoTls::Plain);
                }
                Ok(_) => {}
                Err(_) => return Err(NoTls::Left),
            }
            let accepted = TlsAcceptor::from(config).accept(stream).await;
            accepted.map_err(|error| NoTls::Failed(error.to_string()))
        };
        match tokio::time::timeout(within.min(MAX_HANDSHAKE), handshake).await {
            Ok(done) => done,
            Err(_) => Err(NoTls::Slow),
        }
    }
}
