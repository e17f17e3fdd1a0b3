//! E-mail over SMTP, to an address that was checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::starttls::{self, ClearError};
use super::wire::Wire;
use super::{Attempt, SHOWN_CHARS, Trouble};
use crate::access::trust::{self, Trust};
use crate::alerts::guard::{Guard, Host, ResolveError, Target};
use crate::coded::{chain, shown};
use crate::config::SmtpTls;

/// How long a server that has taken the letter may take to say goodbye.
const GOODBYE: Duration = Duration::from_millis(500);

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
    /// Whom to trust beside the system's authorities.
    pub trust: Option<Trust>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Sends, once. The whole of it ends within `within`.
pub(in crate::alerts) async fn send(
    guard: &Guard,
    server: &Server,
    message: &Message,
    within: Duration,
) -> Attempt {
    let begun = tokio::time::Instant::now();
    let addresses = match guard.resolve(&server.target, within).await {
        Ok(addresses) => addresses,
        Err(ResolveError::Refused(refusal)) => {
            return Attempt::failed(Trouble::Refused(refusal.to_string()));
        }
        Err(error) => return Attempt::failed(Trouble::later(error.to_string())),
    };
    let mut last = Attempt::failed(Trouble::later("it has no address"));
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for (nth, address) in (0..count).zip(addresses) {
        let left = within.saturating_sub(begun.elapsed());
        // An address that does not answer leaves time for the next.
        let connect = left / (count - nth);
        let (attempt, is_final) = to_address(server, address, message, (connect, left)).await;
        last = Attempt { address: Some(address), ..attempt };
        if is_final {
            break;
        }
    }
    last
}

/// What a try came to: the server's word for the letter, and the connection that it
/// was said on, or why not.
type Outcome = Result<(Response, AsyncSmtpConnection), Failure>;

/// A failure, and the code with which the server told it.
struct Failure {
    code: Option<String>,
    trouble: Trouble,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self { code: None, trouble }
    }
}

impl Failure {
    /// `about_letter`: what a server says about the letter is for good when it says so.
    /// Before that it may be a wrong password, or not the server at all: an operator
    /// can mend it, and the letter waits.
    fn said(error: &SmtpError, about_letter: bool) -> Self {
        let said = shown(&chain(error), SHOWN_CHARS);
        let trouble = if about_letter && error.is_permanent() {
            Trouble::Permanent(said)
        } else {
            Trouble::later(said)
        };
        Self { code: error.status().map(|code| format!("SMTP {code}")), trouble }
    }
}

/// What came of it, and whether no other address is to be asked.
async fn to_address(
    server: &Server,
    address: SocketAddr,
    message: &Message,
    (connect, left): (Duration, Duration),
) -> (Attempt, bool) {
    let stream = match timeout(connect, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return (Attempt::failed(Trouble::later(format!("no connection: {error}"))), false);
        }
        Err(_) => return (Attempt::failed(Trouble::later("no connection in time")), false),
    };
    match timeout(left, converse(server, stream, message)).await {
        Ok(Ok((response, mut connection))) => {
            // It has the letter, whatever comes now.
            let _ = timeout(GOODBYE, connection.quit()).await;
            let answer = Some(format!("SMTP {}", response.code()));
            (Attempt { answer, ..Attempt::delivered() }, true)
        }
        // It was reached, and said what it thinks of it.
        Ok(Err(Failure { code: Some(code), trouble })) => {
            (Attempt { answer: Some(code), ..Attempt::failed(trouble) }, true)
        }
        Ok(Err(Failure { code: None, trouble })) => (Attempt::failed(trouble), false),
        // It may have taken it.
        Err(_) => {
            let reason = format!("{} did not answer in time", server.target);
            (Attempt::failed(Trouble::later(reason)), true)
        }
    }
}

async fn converse(server: &Server, stream: TcpStream, message: &Message) -> Outcome {
    let hello = ClientId::Domain(server.hello.clone());
    let wire = protect(server, stream, &hello).await?;
    let mut connection = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &hello)
        .await
        .map_err(|error| Failure::said(&error, false))?;
    if let Some((user, password)) = &server.login {
        let credentials = Credentials::new(user.clone(), password.clone());
        connection
            .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
            .await
            .map_err(|error| Failure::said(&error, false))?;
    }
    let sent = connection.send(message.envelope(), &message.formatted()).await;
    sent.map(|response| (response, connection)).map_err(|error| Failure::said(&error, true))
}

/// The connection goes to the address; the certificate has to be the name's.
async fn protect(
    server: &Server,
    mut stream: TcpStream,
    hello: &ClientId,
) -> Result<Wire, Trouble> {
    match server.tls {
        SmtpTls::None => return Ok(Wire::plain(stream)),
        SmtpTls::Tls => {}
        SmtpTls::Starttls => match starttls::prepare(&mut stream, hello).await {
            Ok(()) => {}
            Err(error @ ClearError::Appended { .. }) => {
                return Err(Trouble::Refused(error.to_string()));
            }
            Err(error) => return Err(Trouble::later(shown(&error.to_string(), SHOWN_CHARS))),
        },
    }
    let advice = match server.tls {
        SmtpTls::Tls => "; if the server begins without TLS, set smtp_tls = \"starttls\"",
        SmtpTls::Starttls | SmtpTls::None => "",
    };
    let later = |error: &dyn std::error::Error| {
        Trouble::later(format!("TLS: {}{advice}", shown(&chain(error), SHOWN_CHARS)))
    };
    let name = match &server.target.host {
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|error| later(&error))?,
        Host::Address(address) => ServerName::from(*address),
    };
    let config = trust::client(server.trust.as_ref()).map_err(|error| later(&error))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| later(&error))?;
    Ok(Wire::tls(stream, server.tls == SmtpTls::Starttls))
}
