//! E-mail over SMTP, to an address that was checked.

use std::net::SocketAddr;
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{Attempt, SHOWN_CHARS, Trouble, chain, shown};
use crate::alerts::guard::{Guard, ResolveError, Target};
use crate::config::SmtpTls;

/// How a mail server is spoken to.
#[derive(Clone)]
pub(crate) struct Server {
    /// Where it is.
    pub target: Target,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// What this machine calls itself.
    pub hello: String,
    /// A certificate to trust beside the system's, PEM.
    pub ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Sends, once. The whole of it ends within `timeout`.
pub(in crate::alerts) async fn send(
    guard: &Guard,
    server: &Server,
    message: Message,
    timeout: Duration,
) -> Attempt {
    let begun = tokio::time::Instant::now();
    let addresses = match guard.resolve(&server.target, timeout).await {
        Ok(addresses) => addresses,
        Err(ResolveError::Refused(refusal)) => {
            return Attempt::failed(Trouble::Refused(refusal.to_string()));
        }
        Err(error) => return Attempt::failed(Trouble::later(error.to_string())),
    };
    let mut last = Attempt::failed(Trouble::later("it has no address"));
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for (nth, address) in (0..count).zip(addresses) {
        let left = timeout.saturating_sub(begun.elapsed());
        // An address that does not answer leaves time for the next.
        let connect = left / (count - nth);
        let sending = to_address(server, address, message.clone(), connect);
        match tokio::time::timeout(left, sending).await {
            // It was reached, and said what it thinks of it.
            Ok(attempt) if attempt.answer.is_some() => return attempt,
            Ok(attempt) => last = attempt,
            // It may have taken it: no other is asked.
            Err(_) => {
                let reason = format!("{} did not answer in time", server.target);
                let trouble = Trouble::later(reason);
                return Attempt { address: Some(address), ..Attempt::failed(trouble) };
            }
        }
    }
    last
}

async fn to_address(
    server: &Server,
    address: SocketAddr,
    message: Message,
    timeout: Duration,
) -> Attempt {
    let transport = match transport(server, address, timeout) {
        Ok(transport) => transport,
        Err(error) => return Attempt::failed(Trouble::later(chain(&error))),
    };
    let failed = |answer, trouble| Attempt { address: Some(address), answer, result: Err(trouble) };
    match transport.send(message).await {
        Ok(response) => Attempt {
            address: Some(address),
            answer: Some(format!("SMTP {}", response.code())),
            result: Ok(()),
        },
        Err(error) => {
            let answer = error.status().map(|code| format!("SMTP {code}"));
            let said = shown(&chain(&error), SHOWN_CHARS);
            if error.is_permanent() {
                failed(answer, Trouble::Permanent(said))
            } else {
                failed(answer, Trouble::later(said))
            }
        }
    }
}

/// The connection goes to the address; the certificate has to be the name's.
fn transport(
    server: &Server,
    address: SocketAddr,
    timeout: Duration,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, lettre::transport::smtp::Error> {
    let tls = || {
        let mut builder = TlsParameters::builder(server.target.host.to_string());
        if let Some(pem) = &server.ca {
            builder = builder.add_root_certificate(Certificate::from_pem(pem)?);
        }
        builder.build()
    };
    let tls = match server.tls {
        SmtpTls::Starttls => Tls::Required(tls()?),
        SmtpTls::Tls => Tls::Wrapper(tls()?),
        SmtpTls::None => Tls::None,
    };
    let mut builder =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
            .port(address.port())
            .timeout(Some(timeout))
            .hello_name(ClientId::Domain(server.hello.clone()))
            .tls(tls);
    if let Some((user, password)) = &server.login {
        builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
    }
    Ok(builder.build())
}
