//! Where backups go: which provider, which bucket, below which prefix.

use super::error::{StoreError, StoreErrorKind};
use super::provider::Provider;

/// A bucket (on Azure a container), and a prefix that ends in `/` or is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    bucket: String,
    prefix: String,
}

impl Destination {
    /// Reads `BUCKET`, `BUCKET/PREFIX`, or either after the provider's `s3://`,
    /// `az://` or `gs://`. The prefix is a folder: `nightly` means `nightly/`.
    ///
    /// # Errors
    /// Another provider's URL, a bucket name that no provider allows, or a prefix
    /// with empty, `.` or `..` parts, control characters or more than 512 bytes.
    pub fn parse(provider: Provider, text: &str) -> Result<Self, StoreError> {
        let refuse = |why: String| {
            let shown: String = text.chars().take(128).flat_map(char::escape_debug).collect();
            StoreError::new(StoreErrorKind::Usage, shown, why)
                .hint("write BUCKET or BUCKET/PREFIX, such as acme-audit/web-1")
        };
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(provider.scheme()) => rest,
            Some((scheme, _)) => {
                let wanted = provider.scheme();
                return Err(refuse(format!(
                    "it begins with {}://, and {provider} has {wanted}://",
                    scheme.escape_debug()
                )));
            }
            None => text,
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        check_bucket(provider, bucket).map_err(&refuse)?;
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            check_name(prefix).map_err(&refuse)?;
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }

    /// This prefix, where none was named.
    #[must_use]
    pub fn or_prefix(mut self, prefix: &str) -> Self {
        if self.prefix.is_empty() {
            self.prefix = format!("{}/", prefix.trim_matches('/'));
        }
        self
    }

    /// Reads the URL of one object, `s3://BUCKET/PREFIX/NAME`, as the folder it
    /// is in and its name.
    ///
    /// # Errors
    /// As [`Self::parse`]; no name; no known scheme.
    pub fn parse_object(url: &str) -> Result<(Provider, Self, String), StoreError> {
        let usage = |why: &str| {
            let shown: String = url.chars().take(128).flat_map(char::escape_debug).collect();
            StoreError::new(StoreErrorKind::Usage, shown, why)
                .hint(format!("write {}", Provider::destinations("/NAME")))
        };
        let provider = Provider::of_url(url).ok_or_else(|| usage("it has no known scheme"))?;
        let (folder, name) = url.rsplit_once('/').ok_or_else(|| usage("it names no object"))?;
        if name.is_empty() || folder.ends_with('/') {
            return Err(usage("it names no object"));
        }
        check_name(name).map_err(|why| usage(&why))?;
        Ok((provider, Self::parse(provider, folder)?, name.to_owned()))
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix: empty, or ending in `/`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// An object's full name in the bucket.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name below the prefix; none for what is not below it.
    #[must_use]
    pub fn name_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.prefix.as_str()).filter(|name| !name.is_empty())
    }

    /// `s3://bucket/prefix/name`.
    #[must_use]
    pub fn url(&self, provider: Provider, name: &str) -> String {
        format!("{}://{}/{}{name}", provider.scheme(), self.bucket, self.prefix)
    }
}

/// What the providers' rules have in common. A name beyond that is a typing error or an
/// attempt to leave the bucket.
fn check_bucket(provider: Provider, bucket: &str) -> Result<(), String> {
    let (longest, also) = provider.bucket_rule();
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-') || also.contains(c);
    let shown = bucket.escape_debug();
    if bucket.is_empty() {
        return Err("it names no bucket".to_owned());
    }
    if !(3..=longest).contains(&bucket.len()) {
        return Err(format!("the bucket name \"{shown}\" is not 3 to {longest} characters long"));
    }
    if let Some(bad) = bucket.chars().find(|c| !allowed(*c)) {
        let bad = bad.escape_debug();
        return Err(format!("the bucket name \"{shown}\" may not hold \"{bad}\""));
    }
    Ok(())
}

/// Whether a name can be an object's on every provider and a file's below a
/// directory: no empty, `.` or `..` parts, no control characters, no backslash.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    const LONGEST: usize = 512;
    let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if name.len() > LONGEST {
        return Err(format!("the name \"{shown}…\" is longer than {LONGEST} bytes"));
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\\' | '?' | '#')) {
        return Err(format!("the name \"{shown}\" holds a control character, \\, ? or #"));
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("the name \"{shown}\" has an empty, \".\" or \"..\" part"));
    }
    Ok(())
}

/// Whether a name that a store lists can be one that was put there from here.
pub(crate) fn is_name(name: &str) -> bool {
    check_name(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_a_prefix_and_urls_are_read_alike() {
        for text in ["acme/web/1", "s3://acme/web/1", "S3://acme/web/1/"] {
            let destination = Destination::parse(Provider::S3, text).expect(text);
            assert_eq!((destination.bucket(), destination.prefix()), ("acme", "web/1/"));
            assert_eq!(destination.url(Provider::S3, "a.gz"), "s3://acme/web/1/a.gz");
            assert_eq!(destination.name_of("web/1/x/y"), Some("x/y"));
            assert_eq!(destination.name_of("web/10/x"), None);
        }
        let bare = Destination::parse(Provider::Gcs, "acme_audit").expect("a bucket");
        assert_eq!(bare.key("a.gz"), "a.gz");
    }

    #[test]
    fn what_is_no_destination_is_refused_and_shown_escaped() {
        for (provider, text) in [
            (Provider::S3, ""),
            (Provider::S3, "ab"),
            (Provider::S3, "Acme"),
            (Provider::S3, "gs://acme"),
            (Provider::S3, "acme/../other"),
            (Provider::S3, "acme//x"),
            (Provider::S3, "acme/x?versionId=1"),
            (Provider::S3, "acme/\u{1b}[2J"),
            (Provider::Azure, "with.dots"),
        ] {
            let error = Destination::parse(provider, text).expect_err(text);
            assert_eq!(error.kind, StoreErrorKind::Usage);
            assert!(!error.to_string().contains('\u{1b}'));
        }
    }

    #[test]
    fn an_objects_url_is_its_folder_and_its_name() {
        let (provider, folder, name) =
            Destination::parse_object("az://audit/web-1/a.gz").expect("an object");
        assert_eq!((provider, folder.prefix(), name.as_str()), (Provider::Azure, "web-1/", "a.gz"));
        for text in ["a.gz", "s3://acme", "s3://acme/", "http://acme/x"] {
            Destination::parse_object(text).expect_err(text);
        }
    }
}
