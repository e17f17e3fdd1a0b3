//! Cutting secrets out of other people's error texts.

/// The text with the query of every URL cut out: that is where access
/// signatures, upload sessions and tokens stand. Also cut are the values after
/// the names of keys that connection strings and headers hold, and the text is
/// kept to 600 characters, since some libraries put whole pages into an error.
pub(crate) fn redacted(text: &str) -> String {
    const SECRETS: &[&str] =
        &["sig=", "AccountKey=", "SharedAccessSignature=", "Bearer ", "upload_id="];
    const MOST: usize = 600;
    let mut out = String::with_capacity(text.len().min(MOST));
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if out.len() >= MOST {
            out.push('…');
            break;
        }
        let secret = SECRETS.iter().find(|name| {
            rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        });
        let kept = match secret {
            Some(name) => name.len(),
            None if character == '?' && in_url(&out) => 1,
            None => {
                out.push(if character.is_control() { ' ' } else { character });
                rest = &rest[character.len_utf8()..];
                continue;
            }
        };
        out.push_str(&rest[..kept]);
        out.push('…');
        rest = &rest[kept..];
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '`' | '<');
        rest = &rest[rest.find(ends).unwrap_or(rest.len())..];
    }
    out.trim().to_owned()
}

/// An address without a name and password before the host, and without a query.
#[cfg(feature = "cloud")]
pub(crate) fn without_credentials(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    format!("{}://{host}/{path}", scheme.to_ascii_lowercase()).trim_end_matches('/').to_owned()
}

/// Whether the last word so far is a URL.
fn in_url(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default();
    word.contains("://")
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[cfg(feature = "cloud")]
    #[test]
    fn an_endpoint_is_told_without_what_gives_access() {
        let told = super::without_credentials("https://Key:secret@S3.example.com:9000/?sig=x");
        assert_eq!(told, "https://s3.example.com:9000");
        assert_eq!(super::without_credentials("http://127.0.0.1:1/dev/"), "http://127.0.0.1:1/dev");
    }

    #[test]
    fn queries_of_urls_and_named_secrets_are_cut_and_the_rest_stays() {
        let text = "PUT (https://x.blob.core.windows.net/c/b?comp=block&sig=AbC%3D) said: why?";
        assert_eq!(redacted(text), "PUT (https://x.blob.core.windows.net/c/b?…) said: why?");
        assert_eq!(redacted("AccountName=a;AccountKey=c2VjcmV0;x"), "AccountName=a;AccountKey=…");
        assert_eq!(redacted("authorization: bearer ya29.secret"), "authorization: bearer …");
    }

    #[test]
    fn a_whole_page_is_cut_short() {
        assert!(redacted(&"ä".repeat(10_000)).chars().count() < 700);
    }
}
