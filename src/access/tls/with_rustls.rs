//! Certificates and keys by rustls.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};
use x509_parser::extensions::GeneralName;

use super::{Pair, TlsError};
use crate::clock::Timestamp;
use crate::fsio::Fs;
use crate::fsio::private::exposed;

const MAX_BYTES: u64 = 1 << 20;

/// A certificate and its key, ready for connections.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    begins: Timestamp,
    expires: Timestamp,
    host: Option<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads both files and makes sure that they fit. A certificate that has expired
    /// is no error: clients refuse it, and health says so.
    ///
    /// # Errors
    /// When a file cannot be read, the key is not private, or the two do not fit.
    pub fn load(fs: &dyn Fs, pair: &Pair) -> Result<Self, TlsError> {
        let certificates = certificates(fs, &pair.certificate)?;
        let (begins, expires) = validity(&pair.certificate, &certificates)?;
        let host = certificates.first().and_then(|der| host_of(der));
        let key = key(fs, &pair.key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        // What rustls holds safe: TLS 1.2 and 1.3, no export or CBC suites.
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { key: pair.key.clone(), certificate: pair.certificate.clone() }
            }
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                let reason = error.to_string();
                TlsError::Certificate { path: pair.certificate.clone(), reason }
            }
            error => TlsError::Key { path: pair.key.clone(), reason: error.to_string() },
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), begins, expires, host })
    }

    /// How connections are accepted with it.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// When the certificate expires, or one that leads to its authority, whichever
    /// is earlier.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whom the first certificate is for: a name that a browser can open, or an address.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.host.clone()
    }

    /// From when on all of them are valid.
    #[must_use]
    pub fn begins(&self) -> Timestamp {
        self.begins
    }

    pub(super) fn expiry(fs: &dyn Fs, path: &Path) -> Result<Timestamp, TlsError> {
        Ok(validity(path, &certificates(fs, path)?)?.1)
    }
}

fn certificates(fs: &dyn Fs, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = |reason: String| TlsError::Certificate { path: path.to_path_buf(), reason };
    let text = fs.read(path, MAX_BYTES).map_err(|error| refuse(error.to_string()))?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| refuse(format!("not PEM: {error}")))?;
    if found.is_empty() {
        return Err(refuse("no certificate in it (PEM, `BEGIN CERTIFICATE`)".to_owned()));
    }
    Ok(found)
}

/// The first name of a certificate that is one host's; an address where it has none.
fn host_of(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    let named = names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) if is_host(name) => Some((*name).to_owned()),
        _ => None,
    });
    let address = || {
        names.iter().find_map(|name| match name {
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(four) => Some(Ipv4Addr::from(four).to_string()),
                Err(_) => <[u8; 16]>::try_from(*bytes)
                    .ok()
                    .map(|sixteen| format!("[{}]", Ipv6Addr::from(sixteen))),
            },
            _ => None,
        })
    };
    named.or_else(address)
}

/// Letters, digits, hyphens and dots: no `*`, and nothing that an address could be ended with.
fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// From when on, and until when, all of them are valid.
fn validity(
    path: &Path,
    certificates: &[CertificateDer<'_>],
) -> Result<(Timestamp, Timestamp), TlsError> {
    let mut all = (i64::MIN, i64::MAX);
    for der in certificates {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| {
            TlsError::Certificate { path: path.to_path_buf(), reason: error.to_string() }
        })?;
        let validity = certificate.validity();
        all.0 = all.0.max(validity.not_before.timestamp());
        all.1 = all.1.min(validity.not_after.timestamp());
    }
    let at = |seconds: i64| Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    Ok((at(all.0), at(all.1)))
}

fn key(fs: &dyn Fs, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let refuse = |reason: String| TlsError::Key { path: path.to_path_buf(), reason };
    let meta = fs.meta(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => refuse("there is no such file".to_owned()),
        _ => refuse(error.to_string()),
    })?;
    if let Some(what) = exposed(path, &meta) {
        return Err(refuse(what));
    }
    let text = fs.read(path, MAX_BYTES).map_err(|error| refuse(error.to_string()))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
        refuse(if encrypted.iter().any(|mark| memchr::memmem::find(&text, mark).is_some()) {
            "it is encrypted; remove its passphrase (`openssl pkey -in KEY -out KEY2`), and keep \
             the file 0600"
                .to_owned()
        } else if matches!(error, pem::Error::NoItemsFound) {
            "no private key in it (PEM, `BEGIN PRIVATE KEY`)".to_owned()
        } else {
            format!("not PEM: {error}")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::expiry;
    use super::*;
    use crate::fsio::{OsFs, os};
    use std::path::PathBuf;

    struct Files {
        _directory: tempfile::TempDir,
        pair: Pair,
    }

    fn made(not_after: (i32, u8, u8)) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let (year, month, day) = not_after;
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn files(certificate: &str, key: &str) -> Files {
        let directory = tempfile::tempdir().expect("temporary directory");
        let put = |name: &str, content: &str| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::write(&path, content).expect("written");
            os::set_mode(&path, 0o600).expect("mode");
            path
        };
        let pair = Pair { certificate: put("cert.pem", certificate), key: put("key.pem", key) };
        Files { _directory: directory, pair }
    }

    fn refused(files: &Files) -> String {
        Identity::load(&OsFs, &files.pair).expect_err("refused").to_string()
    }

    #[test]
    fn a_pair_that_fits_is_taken_and_its_earliest_end_told() {
        let (certificate, key) = made((2031, 2, 3));
        let files = files(&(certificate + &made((2030, 1, 1)).0), &key);
        let identity = Identity::load(&OsFs, &files.pair).expect("it fits");
        assert_eq!(identity.expires().to_string(), "2030-01-01T00:00:00.000000Z");
        assert_eq!(expiry(&OsFs, &files.pair.certificate).expect("told"), identity.expires());
        assert_eq!(identity.config().alpn_protocols, [b"http/1.1".to_vec()]);
        assert!(identity.begins() < identity.expires());
    }

    #[test]
    fn a_certificate_says_under_which_name_it_is_opened() {
        let host = |names: &[&str]| {
            let key = rcgen::KeyPair::generate().expect("a key");
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let parameters = rcgen::CertificateParams::new(names).expect("names");
            host_of(parameters.self_signed(&key).expect("a certificate").der())
        };
        assert_eq!(
            host(&["*.example.org", "audit.example.org"]).as_deref(),
            Some("audit.example.org")
        );
        assert_eq!(host(&["10.0.0.7", "::1"]).as_deref(), Some("10.0.0.7"));
        assert_eq!(host(&["::1"]).as_deref(), Some("[::1]"));
        assert_eq!(host(&[]), None);
    }

    #[test]
    fn what_does_not_fit_or_is_not_there_is_told_with_the_file() {
        let (certificate, key) = made((2031, 1, 1));
        let mismatched = files(&certificate, &made((2031, 1, 1)).1);
        let error = Identity::load(&OsFs, &mismatched.pair).expect_err("another key");
        assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("first")));
        for (certificate, key, says) in [
            ("", &*key, "cert.pem: no certificate"),
            (&*certificate, "", "key.pem: no private key"),
            (&certificate, &certificate, "key.pem: no private key"),
            (&key, &key, "cert.pem: no certificate"),
            (
                &certificate,
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "passphrase",
            ),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "cert.pem: "),
        ] {
            let error = refused(&files(certificate, key));
            assert!(error.contains(says), "{says}: {error}");
            assert!(!error.contains("BEGIN PRIVATE KEY-----"), "{error}");
        }
        let open = files(&certificate, &key);
        os::set_mode(&open.pair.key, 0o604).expect("mode");
        assert!(refused(&open).contains("chmod 600"));
        std::fs::remove_file(&open.pair.key).expect("removed");
        assert!(refused(&open).contains("no such file"));
    }
}
