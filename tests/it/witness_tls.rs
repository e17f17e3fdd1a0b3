//! A witness behind a proxy that speaks TLS, with a certificate of an authority of the
//! operator's own.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::mail_server::certified;
use crate::serving::{Serving, refuses_to_start};
use crate::support::{Dir, eventually};
use crate::witness::{EVENT, SETTINGS, Witness, accepted, cosigned_size, grow, health, policy_at};

/// A proxy for `localhost` before that address: its port, and the authority that vouches for it.
fn before(address: SocketAddr) -> (u16, String) {
    let (config, authority) = certified("localhost");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("an address").port();
    // Ends with the process of the tests.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let acceptor = TlsAcceptor::from(config);
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust it hangs up.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut witness = TcpStream::connect(address).await.expect("the witness");
                    let _ = copy_bidirectional(&mut stream, &mut witness).await;
                });
            }
        });
    });
    (port, authority)
}

#[test]
fn a_witness_with_a_certificate_of_ones_own_authority_is_asked_and_an_unknown_one_is_not() {
    let dir = Dir::new();
    grow(&dir, 3);
    accepted(&dir);
    let witness = Witness::start(&dir, &[]);
    let (port, authority) = before(witness.http);
    let _ = policy_at(&dir, &format!("https://localhost:{port}/"));
    std::fs::write(dir.path().join("ca.pem"), authority).expect("written");

    let collector = Serving::start(&dir, SETTINGS);
    let mut peer = collector.connect();
    peer.ask(EVENT);
    let message = || health(&dir)["message"].as_str().unwrap_or_default().to_owned();
    eventually("the certificate is not trusted", || message().contains("certificate"));
    assert_eq!(cosigned_size(&dir), 0, "nobody who is not trusted is asked");
    collector.terminate();

    let settings = SETTINGS.replace("[health]", "ca_file = \"ca.pem\"\n[health]");
    let collector = Serving::start(&dir, &settings);
    let mut peer = collector.connect();
    let seq = peer.ask(EVENT)["ok"]["seq"].as_u64().expect("a seq");
    eventually("the event is cosigned", || cosigned_size(&dir) > seq);
    collector.terminate();
}

#[test]
fn a_ca_file_without_a_certificate_is_said_before_anything_is_recorded() {
    let dir = Dir::new();
    grow(&dir, 1);
    accepted(&dir);
    let witness = Witness::start(&dir, &[]);
    let _ = policy_at(&dir, &witness.url());
    let settings = SETTINGS.replace("[health]", "ca_file = \"ca.pem\"\n[health]");
    std::fs::write(dir.path().join("auditctl.toml"), settings).expect("written");
    let (code, told) = refuses_to_start(&dir, &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("witness.ca_file") && told.contains("ca.pem"), "{told}");
    std::fs::write(dir.path().join("ca.pem"), "hello").expect("written");
    let (code, told) = refuses_to_start(&dir, &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("has no certificate in it"), "{told}");
}
