//! Which storage account, and what opens it: a connection string, a key, a
//! shared access signature, or an identity of Entra ID.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, Url};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::super::credentials;
use super::super::error::{StoreError, StoreErrorKind};
use super::super::limits::{Environment, Limits};
use super::super::redact::without_credentials;
use crate::clock::{Clock, SystemClock, Timestamp};

/// Azurite's, which everybody knows.
const DEVELOPMENT: &str = "AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1";
/// For how long a signature made from an account key is good. Each request has a
/// new one.
const SIGNED_FOR: Duration = Duration::from_secs(6 * 3_600);
/// The version of the rules that a signature is made by.
const SIGNED_VERSION: &str = "2022-11-02";
const HINT: &str = "set AZURE_STORAGE_CONNECTION_STRING; or AZURE_STORAGE_ACCOUNT with \
    AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or an identity (managed, workload, AZURE_CLIENT_SECRET, \
    az login)";

/// A storage account.
pub(super) struct Account {
    endpoint: Url,
    access: Access,
}

enum Access {
    Key {
        account: String,
        key: Vec<u8>,
    },
    /// A query string.
    Signature(String),
    Identity(Arc<dyn TokenCredential>),
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Key { .. } => "key",
            Access::Signature(_) => "signature",
            Access::Identity(_) => "identity",
        };
        write!(f, "Account({}, {access})", self.endpoint.host_str().unwrap_or_default())
    }
}

impl Account {
    /// The account that the environment names.
    pub(super) fn find(
        environment: &Environment,
        url: &str,
        limits: &Limits,
        options: &ClientOptions,
    ) -> Result<Self, StoreError> {
        let refuse =
            |message: &str| StoreError::new(StoreErrorKind::NoCredentials, url, message).hint(HINT);
        if let Some(text) = environment.get("AZURE_STORAGE_CONNECTION_STRING") {
            return Self::of_connection_string(text).map_err(|why| refuse(&why));
        }
        let Some(name) = environment.get("AZURE_STORAGE_ACCOUNT") else {
            return Err(refuse("no Azure storage account is named"));
        };
        let endpoint = match environment.get("AZURE_STORAGE_BLOB_ENDPOINT") {
            Some(endpoint) => endpoint.to_owned(),
            None => format!("https://{name}.blob.core.windows.net"),
        };
        let endpoint = Url::parse(&endpoint).map_err(|_| {
            refuse("AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_BLOB_ENDPOINT is not an address")
        })?;
        let access = if let Some(key) = environment.get("AZURE_STORAGE_KEY") {
            let key =
                STANDARD.decode(key).map_err(|_| refuse("AZURE_STORAGE_KEY is not base64"))?;
            Access::Key { account: name.to_owned(), key }
        } else if let Some(signature) = environment.get("AZURE_STORAGE_SAS_TOKEN") {
            Access::Signature(signature.trim_start_matches('?').to_owned())
        } else {
            unusable(environment).map_or(Ok(()), |why| Err(refuse(&why)))?;
            let identity = identity(environment, options)
                .map_err(|error| refuse("no Azure credentials can be used").caused_by(&error))?;
            let patience = limits.credentials_timeout;
            Access::Identity(Arc::new(Patient { identity, patience }))
        };
        Ok(Self { endpoint, access })
    }

    fn of_connection_string(text: &str) -> Result<Self, String> {
        let parts = |text: &str| -> Vec<(String, String)> {
            let part = |part: &str| {
                let (name, value) = part.trim().split_once('=')?;
                Some((name.to_ascii_lowercase(), value.to_owned()))
            };
            text.split(';').filter_map(part).collect()
        };
        let mut found = parts(text);
        let development = found.iter().any(|(name, value)| {
            name == "usedevelopmentstorage" && value.eq_ignore_ascii_case("true")
        });
        if development {
            found = parts(DEVELOPMENT);
        }
        let get = |wanted: &str| {
            found.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let account = get("accountname");
        let endpoint = match (get("blobendpoint"), account) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(account)) => {
                let protocol = get("defaultendpointsprotocol").unwrap_or("https");
                let suffix = get("endpointsuffix").unwrap_or("core.windows.net");
                format!("{protocol}://{account}.blob.{suffix}")
            }
            (None, None) => {
                return Err("the connection string has no BlobEndpoint and no AccountName".into());
            }
        };
        let endpoint = Url::parse(&endpoint)
            .map_err(|_| "the connection string's endpoint is not an address".to_owned())?;
        let access = match (get("sharedaccesssignature"), get("accountkey"), account) {
            (Some(signature), _, _) => {
                Access::Signature(signature.trim_start_matches('?').to_owned())
            }
            (None, Some(key), Some(account)) => {
                let key = STANDARD
                    .decode(key)
                    .map_err(|_| "the connection string's AccountKey is not base64".to_owned())?;
                Access::Key { account: account.to_owned(), key }
            }
            _ => {
                return Err("the connection string has neither a SharedAccessSignature nor \
                            AccountName and AccountKey"
                    .into());
            }
        };
        Ok(Self { endpoint, access })
    }

    /// Its address, without what gives access.
    pub(super) fn endpoint(&self) -> String {
        without_credentials(self.endpoint.as_str())
    }

    /// The address of something in the account: the path's parts, and what opens it.
    pub(super) fn url(&self, path: &[&str]) -> Result<Url, String> {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| "the account's endpoint cannot hold a path".to_owned())?
            .pop_if_empty()
            .extend(path.iter().flat_map(|part| part.split('/')));
        match &self.access {
            Access::Key { account, key } => {
                let until = SystemClock.now().unix_seconds() + SIGNED_FOR.as_secs() as i64;
                let query = sign(account, key, Timestamp::from_micros(until * 1_000_000))?;
                url.set_query(Some(&query));
            }
            Access::Signature(query) => url.set_query(Some(query)),
            Access::Identity(_) => {}
        }
        Ok(url)
    }

    pub(super) fn credential(&self) -> Option<Arc<dyn TokenCredential>> {
        match &self.access {
            Access::Identity(credential) => Some(Arc::clone(credential)),
            Access::Key { .. } | Access::Signature(_) => None,
        }
    }
}

/// An account's shared access signature over blobs, as Microsoft's "Create an
/// account SAS" has it.
fn sign(account: &str, key: &[u8], until: Timestamp) -> Result<String, String> {
    const PERMISSIONS: &str = "rwdxlci";
    const SERVICES: &str = "b";
    const TYPES: &str = "co";
    let until = format!("{}Z", until.to_string().split(['.', 'Z']).next().unwrap_or_default());
    // Start, address, protocol and encryption scope are left open.
    let text = format!(
        "{account}\n{PERMISSIONS}\n{SERVICES}\n{TYPES}\n\n{until}\n\n\n{SIGNED_VERSION}\n\n"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| error.to_string())?;
    mac.update(text.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let escape = |text: &str| {
        text.replace('%', "%25")
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D")
            .replace(':', "%3A")
    };
    Ok(format!(
        "sv={SIGNED_VERSION}&ss={SERVICES}&srt={TYPES}&sp={PERMISSIONS}&se={}&sig={}",
        escape(&until),
        escape(&signature)
    ))
}

/// What is wrong with the file that an identity is to be read from.
fn unusable(environment: &Environment) -> Option<String> {
    let path = environment.get("AZURE_FEDERATED_TOKEN_FILE")?;
    credentials::no_file("AZURE_FEDERATED_TOKEN_FILE", path)
}

/// An identity: one that the environment names, else the host's, else the one of
/// whoever has signed in here.
fn identity(
    environment: &Environment,
    options: &ClientOptions,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    if environment.get("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        let options = WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions {
                client_options: options.clone(),
            },
            ..Default::default()
        };
        return Ok(WorkloadIdentityCredential::new(Some(options))?);
    }
    let named = environment
        .get("AZURE_TENANT_ID")
        .zip(environment.get("AZURE_CLIENT_ID"))
        .zip(environment.get("AZURE_CLIENT_SECRET"));
    if let Some(((tenant, client), secret)) = named {
        let secret = Secret::new(secret.to_owned());
        let options = ClientSecretCredentialOptions { client_options: options.clone() };
        return Ok(ClientSecretCredential::new(tenant, client.to_owned(), secret, Some(options))?);
    }
    let options =
        ManagedIdentityCredentialOptions { client_options: options.clone(), ..Default::default() };
    Ok(Arc::new(HostOrPerson {
        host: ManagedIdentityCredential::new(Some(options))?,
        person: DeveloperToolsCredential::new(None)?,
    }))
}

/// An identity that is not waited for without end: none of them has a limit of its own.
#[derive(Debug)]
struct Patient {
    identity: Arc<dyn TokenCredential>,
    patience: Duration,
}

#[async_trait]
impl TokenCredential for Patient {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let asked = self.identity.get_token(scopes, options);
        let refused =
            |message: String| azure_core::Error::with_message(ErrorKind::Credential, message);
        match tokio::time::timeout(self.patience, asked).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err(match error.kind() {
                ErrorKind::Credential => error,
                // What answers for a token is not the store.
                _ => azure_core::Error::with_error(ErrorKind::Credential, error, "no token"),
            }),
            Err(_) => Err(refused(format!("no token within {} s", self.patience.as_secs()))),
        }
    }
}

/// The host's identity; where it has none, a person's who has signed in.
#[derive(Debug)]
struct HostOrPerson {
    host: Arc<ManagedIdentityCredential>,
    person: Arc<DeveloperToolsCredential>,
}

#[async_trait]
impl TokenCredential for HostOrPerson {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        // Where there is no such service, nothing answers at its address.
        const PATIENCE: Duration = Duration::from_secs(5);
        let asked = self.host.get_token(scopes, options.clone());
        let of_host = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(token)) => return Ok(token),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.person.get_token(scopes, options).await.map_err(|of_person| {
            let message = format!("managed identity: {of_host}; signed in here: {of_person}");
            azure_core::Error::with_message(ErrorKind::Credential, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    fn found(environment: &Environment) -> Result<Account, StoreError> {
        Account::find(environment, "az://c/", &Limits::default(), &ClientOptions::default())
    }

    #[test]
    fn a_connection_string_gives_endpoint_and_access() {
        for (text, host) in [
            ("AccountName=acme;AccountKey=aGVsbG8=", "acme.blob.core.windows.net"),
            (
                "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aGVsbG8=;\
                 EndpointSuffix=core.chinacloudapi.cn",
                "a.blob.core.chinacloudapi.cn",
            ),
            ("BlobEndpoint=https://b.example/;SharedAccessSignature=?sv=1&sig=x", "b.example"),
            ("UseDevelopmentStorage=true", "127.0.0.1"),
        ] {
            let environment = environment(&[("AZURE_STORAGE_CONNECTION_STRING", text)]);
            let account = found(&environment).expect(text);
            let url = account.url(&["c", "x/y z.gz"]).expect("an address");
            assert_eq!(url.host_str(), Some(host));
            assert!(url.path().ends_with("/c/x/y%20z.gz"), "{}", url.path());
            assert!(url.query().is_some_and(|query| query.contains("sig=")));
            assert!(!format!("{account:?}").contains("sig="));
        }
    }

    #[test]
    fn what_is_missing_is_said_without_what_is_there() {
        for text in ["AccountKey=c2VjcmV0", "AccountName=a", "AccountName=a;AccountKey=se cret", ""]
        {
            let environment = environment(&[("AZURE_STORAGE_CONNECTION_STRING", text)]);
            let error = found(&environment).expect_err(text);
            assert_eq!(error.kind, StoreErrorKind::NoCredentials);
            assert!(error.hint.is_some());
            assert!(!format!("{error:?}").contains("c2VjcmV0"));
        }
    }

    #[test]
    fn a_signature_is_over_the_documented_text() {
        let until: Timestamp = "2026-02-04T21:09:40.5Z".parse().expect("a time");
        let query = sign("acme", b"hello", until).expect("a signature");
        // Made with Python's hmac over the text of Microsoft's documentation.
        assert_eq!(
            query,
            "sv=2022-11-02&ss=b&srt=co&sp=rwdxlci&se=2026-02-04T21%3A09%3A40Z&\
             sig=4iAThLzHZ%2FOmtHiN4PcpB5kL4%2BKqMqj2HdP%2FTSErGJE%3D"
        );
    }
}
