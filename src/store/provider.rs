//! The clouds, in one table: names, texts and rules follow from it.

use std::fmt;
use std::str::FromStr;

/// `Cloud = "name and cargo feature", "scheme", "its word for a bucket", the longest name of one,
/// "what it may hold beside a-z, 0-9 and -", variables that its credentials may come from`
macro_rules! providers {
    ($(
        $(#[doc = $doc:literal])+
        $provider:ident = $name:tt, $scheme:literal, $bucket:literal, $longest:literal, $also:literal,
        [$($variable:literal),* $(,)?];
    )+) => {
        /// A cloud.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Provider { $($(#[doc = $doc])+ $provider),+ }

        impl Provider {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$provider),+];

            /// Its name, which is its cargo feature's too.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$provider => $name),+ }
            }

            /// What its URLs begin with.
            #[must_use]
            pub fn scheme(self) -> &'static str {
                match self { $(Self::$provider => $scheme),+ }
            }

            /// Whether this build can talk to it.
            #[must_use]
            pub fn is_built_in(self) -> bool {
                match self { $(Self::$provider => cfg!(feature = $name)),+ }
            }

            /// Variables of its libraries: whether they are set says which credentials are used.
            #[must_use]
            pub fn variables(self) -> &'static [&'static str] {
                match self { $(Self::$provider => &[$($variable),*]),+ }
            }

            /// What it calls a bucket, for URLs in help and errors: `s3://BUCKET/…`.
            fn bucket(self) -> &'static str {
                match self { $(Self::$provider => $bucket),+ }
            }

            /// How long the name of a bucket is at most, and what it may hold beside `a-z`,
            /// `0-9` and `-`.
            pub(super) fn bucket_rule(self) -> (usize, &'static str) {
                match self { $(Self::$provider => ($longest, $also)),+ }
            }
        }
    };
}

providers! {
    /// Amazon S3 and what speaks like it.
    S3 = "s3", "s3", "BUCKET", 63, ".", [
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION",
        "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_WEB_IDENTITY_TOKEN_FILE",
    ];
    /// Azure Blob Storage.
    Azure = "azure", "az", "CONTAINER", 63, "$", [
        "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE",
    ];
    /// Google Cloud Storage.
    Gcs = "gcs", "gs", "BUCKET", 222, "._", ["GOOGLE_APPLICATION_CREDENTIALS"];
}

impl Provider {
    /// By the scheme of a URL such as `gs://bucket/prefix`; none for anything else.
    #[must_use]
    pub fn of_url(text: &str) -> Option<Self> {
        let (scheme, _) = text.split_once("://")?;
        let mut all = Self::ALL.iter().copied();
        all.find(|provider| provider.scheme().eq_ignore_ascii_case(scheme))
    }

    /// The names of all, for people: `s3, azure or gcs`.
    #[must_use]
    pub fn names() -> String {
        one_of(Self::ALL.iter().map(|provider| provider.name().to_owned()))
    }

    /// How destinations are written, with `rest` after the bucket:
    /// `s3://BUCKET/NAME, az://CONTAINER/NAME or gs://BUCKET/NAME`.
    #[must_use]
    pub fn destinations(rest: &str) -> String {
        let written =
            |provider: &Self| format!("{}://{}{rest}", provider.scheme(), provider.bucket());
        one_of(Self::ALL.iter().map(written))
    }

    /// The same bucket on each of them: `s3://acme, az://acme or gs://acme`.
    #[must_use]
    pub fn each_with(bucket: &str) -> String {
        one_of(Self::ALL.iter().map(|provider| format!("{}://{bucket}", provider.scheme())))
    }
}

/// Alternatives, for people: `a, b or c`.
fn one_of(all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.collect();
    let last = all.pop().unwrap_or_default();
    if all.is_empty() { last } else { format!("{} or {last}", all.join(", ")) }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        let known = Self::ALL.iter().copied().find(|provider| provider.name() == wanted);
        known.ok_or_else(|| format!("\"{}\" is not {}", text.escape_debug(), Self::names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_name_all_of_them() {
        assert_eq!(Provider::names(), "s3, azure or gcs");
        let written = "s3://BUCKET/NAME, az://CONTAINER/NAME or gs://BUCKET/NAME";
        assert_eq!(Provider::destinations("/NAME"), written);
        assert_eq!("Gcs".parse(), Ok(Provider::Gcs));
        let refused = "ftp".parse::<Provider>().expect_err("no cloud");
        assert_eq!(refused, "\"ftp\" is not s3, azure or gcs");
    }
}
