//! By which means a provider's library will find credentials here: named, never shown.
//!
//! Follows the order in which the three stores, and below them the providers' own
//! chains, look. Whether what is found is accepted, only the provider can tell.

use std::path::{Path, PathBuf};

use super::limits::Environment;
use super::provider::Provider;
use crate::fsio::inspect;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// By this means, such as "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".
    Found(String),
    /// Nothing here names any: the host is asked for its identity.
    OfTheHost(&'static str),
    /// They cannot be used as they are; why, and what to do.
    Unusable {
        /// What is wrong.
        why: String,
        /// What to do.
        hint: &'static str,
    },
}

/// Where credentials for `provider` will come from. Looks at variables and at whether
/// files are there; asks nobody.
#[must_use]
pub fn credentials(provider: Provider, environment: &Environment) -> Credentials {
    match provider {
        Provider::S3 => s3(environment),
        Provider::Azure => azure(environment),
        Provider::Gcs => gcs(environment),
    }
}

fn found(means: impl Into<String>) -> Credentials {
    Credentials::Found(means.into())
}

fn home_file(environment: &Environment, below: &str) -> Option<PathBuf> {
    environment.get("HOME").map(|home| PathBuf::from(home).join(below))
}

fn is_there(path: &Path) -> bool {
    matches!(inspect::behind(path), Ok(Some(entry)) if entry.kind == inspect::Kind::File)
}

/// What is wrong with a file that a variable names: the libraries wait for a pipe for
/// ever, and cannot be told not to. None where it is a file.
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(super) fn no_file(variable: &str, path: &str) -> Option<String> {
    let why = match inspect::behind(Path::new(path)) {
        Ok(Some(entry)) if entry.kind == inspect::Kind::File => return None,
        Ok(Some(_)) => "which is not a regular file".to_owned(),
        Ok(None) => "which is not there".to_owned(),
        Err(error) => format!("which cannot be examined: {error}"),
    };
    Some(format!("{variable} names {path}, {why}"))
}

/// A file that a variable names and that is not there.
fn missing(variable: &str, path: &str, hint: &'static str) -> Credentials {
    let why = format!(
        "{variable} names {path}, which is not a file, not there or cannot be \
                       reached"
    );
    Credentials::Unusable { why, hint }
}

fn s3(environment: &Environment) -> Credentials {
    const BOTH: &str = "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither";
    let get = |name| environment.get(name);
    match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
        (Some(_), Some(_)) => {
            return found("the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        }
        (None, None) => {}
        (id, _) => {
            let (is, not) = if id.is_some() {
                ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
            } else {
                ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")
            };
            return Credentials::Unusable { why: format!("{is} is set, {not} is not"), hint: BOTH };
        }
    }
    let file = |variable, below| {
        get(variable).map(PathBuf::from).or_else(|| home_file(environment, below))
    };
    let profile = get("AWS_PROFILE").unwrap_or("default");
    for (variable, below) in
        [("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), ("AWS_CONFIG_FILE", ".aws/config")]
    {
        if let Some(path) = file(variable, below).filter(|path| is_there(path)) {
            return found(format!("profile {profile} in {}", path.display()));
        }
    }
    if get("AWS_PROFILE").is_some() {
        let why = format!("AWS_PROFILE names {profile}, and there is no file of profiles");
        let hint = "run `aws configure` for the service's user, or unset AWS_PROFILE";
        return Credentials::Unusable { why, hint };
    }
    if let Some(path) = get("AWS_WEB_IDENTITY_TOKEN_FILE") {
        if !is_there(path.as_ref()) {
            let hint = "check the service account's annotation, and that the token is mounted";
            return missing("AWS_WEB_IDENTITY_TOKEN_FILE", path, hint);
        }
        return found("a workload's identity (AWS_WEB_IDENTITY_TOKEN_FILE)");
    }
    for variable in ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    {
        if get(variable).is_some() {
            return found(format!("the container's role ({variable})"));
        }
    }
    if get("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let why = "no variables, no profile, and AWS_EC2_METADATA_DISABLED is set".to_owned();
        return Credentials::Unusable { why, hint: BOTH };
    }
    Credentials::OfTheHost("the instance's role, from its metadata service")
}

fn azure(environment: &Environment) -> Credentials {
    let get = |name| environment.get(name);
    if let Some(text) = get("AZURE_STORAGE_CONNECTION_STRING") {
        let text = text.to_ascii_lowercase();
        let kind = if text.contains("sharedaccesssignature=") {
            "a shared access signature"
        } else if text.contains("accountkey=") || text.contains("usedevelopmentstorage=true") {
            "an account key"
        } else {
            let why = "AZURE_STORAGE_CONNECTION_STRING holds neither a SharedAccessSignature nor \
                       an AccountKey"
                .to_owned();
            let hint = "copy the connection string from the storage account's access keys";
            return Credentials::Unusable { why, hint };
        };
        return found(format!("{kind} in AZURE_STORAGE_CONNECTION_STRING"));
    }
    if get("AZURE_STORAGE_ACCOUNT").is_none() {
        return Credentials::Unusable {
            why: "no storage account is named".to_owned(),
            hint: "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT",
        };
    }
    for (variable, what) in [
        ("AZURE_STORAGE_KEY", "an account key"),
        ("AZURE_STORAGE_SAS_TOKEN", "a shared access signature"),
    ] {
        if get(variable).is_some() {
            return found(format!("{what} ({variable})"));
        }
    }
    if let Some(path) = get("AZURE_FEDERATED_TOKEN_FILE") {
        if !is_there(path.as_ref()) {
            let hint = "check the workload identity's webhook, and that the token is mounted";
            return missing("AZURE_FEDERATED_TOKEN_FILE", path, hint);
        }
        return found("a workload's identity (AZURE_FEDERATED_TOKEN_FILE)");
    }
    let client = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"];
    if client.iter().all(|variable| get(variable).is_some()) {
        return found("a client's secret (AZURE_CLIENT_SECRET)");
    }
    Credentials::OfTheHost("the host's managed identity, or else the login of az login")
}

fn gcs(environment: &Environment) -> Credentials {
    let get = |name| environment.get(name);
    if get("STORAGE_EMULATOR_HOST").is_some() {
        return found("none are needed (STORAGE_EMULATOR_HOST)");
    }
    if let Some(path) = get("GOOGLE_APPLICATION_CREDENTIALS") {
        if !is_there(path.as_ref()) {
            let hint = "put the key file there, readable by the service's user";
            return missing("GOOGLE_APPLICATION_CREDENTIALS", path, hint);
        }
        return found(format!("the file {path} (GOOGLE_APPLICATION_CREDENTIALS)"));
    }
    let adc = home_file(environment, ".config/gcloud/application_default_credentials.json");
    if let Some(path) = adc.filter(|path| is_there(path)) {
        return found(format!("gcloud's application default ({})", path.display()));
    }
    Credentials::OfTheHost("the host's service account, from its metadata server")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(provider: Provider, pairs: &[(&str, &str)]) -> Credentials {
        credentials(provider, &pairs.iter().copied().collect())
    }

    fn means(credentials: &Credentials) -> &str {
        match credentials {
            Credentials::Found(means) => means,
            Credentials::OfTheHost(means) => means,
            Credentials::Unusable { why, .. } => why,
        }
    }

    #[test]
    fn the_means_is_named_and_the_secret_is_not() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("token");
        std::fs::write(&file, "hush").expect("write");
        let file = file.to_str().expect("utf-8");
        use Provider::{Azure, Gcs, S3};
        for (provider, pairs, word) in [
            (
                S3,
                &[("AWS_ACCESS_KEY_ID", "hush"), ("AWS_SECRET_ACCESS_KEY", "hush")][..],
                "variables",
            ),
            (S3, &[("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_PROFILE", "audit")], "audit"),
            (S3, &[("AWS_WEB_IDENTITY_TOKEN_FILE", file)], "workload"),
            (S3, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://hush")], "container"),
            (Azure, &[("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=hush")], "account key"),
            (Azure, &[("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_STORAGE_SAS_TOKEN", "hush")], "sig"),
            (
                Azure,
                &[("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_FEDERATED_TOKEN_FILE", file)],
                "workload",
            ),
            (Gcs, &[("GOOGLE_APPLICATION_CREDENTIALS", file)], "file"),
            (Gcs, &[("STORAGE_EMULATOR_HOST", "localhost:1")], "needed"),
        ] {
            let found = with(provider, pairs);
            assert!(matches!(found, Credentials::Found(_)), "{found:?}");
            assert!(means(&found).contains(word), "{found:?}");
            assert!(!format!("{found:?}").contains("hush"), "{found:?}");
        }
    }

    #[test]
    fn halves_and_files_that_are_not_there_are_unusable() {
        use Provider::{Azure, Gcs, S3};
        for (provider, pairs) in [
            (S3, &[("AWS_ACCESS_KEY_ID", "x")][..]),
            (S3, &[("AWS_SECRET_ACCESS_KEY", "x")]),
            (S3, &[("AWS_PROFILE", "audit")]),
            (S3, &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/file")]),
            (S3, &[("AWS_EC2_METADATA_DISABLED", "true")]),
            (Azure, &[]),
            (Azure, &[("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a")]),
            (
                Azure,
                &[("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_FEDERATED_TOKEN_FILE", "/no/such/file")],
            ),
            (Gcs, &[("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")]),
        ] {
            let found = with(provider, pairs);
            assert!(matches!(found, Credentials::Unusable { .. }), "{provider} {found:?}");
        }
        for provider in [S3, Gcs] {
            assert!(matches!(with(provider, &[]), Credentials::OfTheHost(_)));
        }
    }
}
