//! Whom those trust who send to others: the system's authorities, and what a `ca_file` holds.
//!
//! A certificate in that file is an authority, or the server's own: one that a
//! server signed itself, as `openssl req -x509` makes it, is an authority's by its
//! form, and no library takes that for a server's. Where the server shows exactly
//! such a certificate, its name and its dates decide.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::Verifier;

/// The certificates of a `ca_file`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust(Vec<CertificateDer<'static>>);

impl Trust {
    /// Reads PEM.
    ///
    /// # Errors
    /// Why none, or not all of them, can be used.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(|error| format!("is not PEM: {error}"))?;
        if found.is_empty() {
            return Err("has no certificate in it (PEM, `BEGIN CERTIFICATE`)".to_owned());
        }
        let mut roots = RootCertStore::empty();
        for (certificate, nth) in found.iter().zip(1..) {
            roots.add(certificate.clone()).map_err(|error| {
                format!("has a certificate that cannot be used (number {nth}): {error}")
            })?;
        }
        Ok(Self(found))
    }
}

/// TLS 1.2 or 1.3 with somebody who is trusted. Made for each connection: the
/// system's authorities may have changed.
///
/// # Errors
/// When nobody would be trusted.
pub(crate) fn client(trust: Option<&Trust>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let named = trust.map(|trust| trust.0.clone()).unwrap_or_default();
    let authorities = Verifier::new_with_extra_roots(named.clone(), Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Known { authorities, named }))
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
struct Known {
    authorities: Verifier,
    /// The very certificates that the operator named.
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.named.iter().any(|named| named == end_entity) {
            return self.authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        is_valid(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

fn is_valid(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let refuse = |why| Err(Error::InvalidCertificate(why));
    if now < parsed.validity().not_before.timestamp() {
        return refuse(CertificateError::NotValidYet);
    }
    if now > parsed.validity().not_after.timestamp() {
        return refuse(CertificateError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_that_can_be_used_is_told() {
        for (text, expected) in [
            ("", "no certificate"),
            ("hello", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "number 1"),
            ("-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n", "not PEM"),
        ] {
            let error = Trust::parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
