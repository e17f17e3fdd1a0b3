//! How much at once, how fast, how long; and what the environment says.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::retry::RetryPolicy;
use super::stop::Stop;

/// How much at once, how fast, how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest object that S3 gets in one request, which it then checks by
    /// SHA-256; larger ones go in parts, checked by CRC-64. Default 256 MiB; S3
    /// itself allows 5 GB.
    pub single_put_bytes: u64,
    /// The smallest part. Default 16 MiB; S3 allows no less than 5 MiB. Parts of
    /// large files are larger, since their number is limited.
    pub part_bytes: u64,
    /// How many parts are on their way at once. Default 4.
    pub in_flight: usize,
    /// Bytes a second that are sent at most. Default: no limit.
    pub upload_rate: Option<u64>,
    /// How long a connection may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long nothing may move before it counts as broken. Default 2 min.
    pub stall_timeout: Duration,
    /// How long to wait for credentials that something else gives: a metadata service,
    /// a sign-in, a program. Default 20 s.
    pub credentials_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Whether to stop: looked at in every wait, ten times a second.
    pub stop: Stop,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            single_put_bytes: 256 << 20,
            part_bytes: 16 << 20,
            in_flight: 4,
            upload_rate: None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(120),
            credentials_timeout: Duration::from_secs(20),
            retry: RetryPolicy::default(),
            stop: Stop::default(),
        }
    }
}

impl Limits {
    /// The length of parts for a file of `bytes`, when there may be `most` parts:
    /// with room to spare, and a multiple of 256 KiB, as Google wants it.
    #[must_use]
    pub fn part_for(&self, bytes: u64, most: u64) -> u64 {
        const STEP: u64 = 256 << 10;
        let spared = most - most / 20;
        self.part_bytes.max(bytes.div_ceil(spared)).div_ceil(STEP).max(1) * STEP
    }
}

/// Environment variables, handed in by whoever may read the environment.
///
/// The providers' libraries read theirs (`AWS_PROFILE`,
/// `GOOGLE_APPLICATION_CREDENTIALS`, …) themselves; these are the ones that are
/// evaluated here. Hidden in `Debug`, since keys are among them.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The value of a variable; an empty one counts as none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_the_most_that_a_provider_allows() {
        let limits = Limits::default();
        assert_eq!(limits.part_for(1 << 30, 10_000), 16 << 20);
        for bytes in [1, 5 << 40, 48 << 40] {
            let part = limits.part_for(bytes, 10_000);
            assert!(bytes.div_ceil(part) <= 10_000 && part.is_multiple_of(256 << 10));
        }
    }

    #[test]
    fn the_environments_values_are_not_shown() {
        let environment: Environment = [("AWS_SECRET_ACCESS_KEY", "hush")].into_iter().collect();
        assert!(!format!("{environment:?}").contains("hush"));
        assert_eq!(environment.get("AWS_SECRET_ACCESS_KEY"), Some("hush"));
    }
}
