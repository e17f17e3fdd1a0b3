//! Without the feature `tls` nobody is accepted, as no certificate can be loaded.

use std::time::Duration;

use tokio::net::TcpStream;

use super::NoTls;
use crate::access::tls::Identity;
use crate::clock::Timestamp;

#[derive(Debug)]
pub(in crate::collector) struct Acceptor(Identity);

impl Acceptor {
    pub(in crate::collector) fn new(identity: Identity) -> Self {
        Self(identity)
    }

    pub(in crate::collector) fn replace(&self, _: Identity) {}

    pub(in crate::collector) fn expires(&self) -> Timestamp {
        self.0.expires()
    }

    pub(in crate::collector) fn begins(&self) -> Timestamp {
        self.0.begins()
    }

    pub(in crate::collector) fn host(&self) -> Option<String> {
        self.0.host()
    }

    pub(in crate::collector) async fn accept(
        &self,
        stream: TcpStream,
        _: Duration,
    ) -> Result<TcpStream, NoTls> {
        Ok(stream)
    }
}
