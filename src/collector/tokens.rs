//! The tokens that requests show: found in constant time, each with its limits.

use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::access::{Right, State, Token, digest};
use crate::audit::RateLimit;
use crate::audit::write::own::Change;
use crate::clock::Timestamp;

/// So many seconds' worth may come at once.
const BURST_SECONDS: u32 = 2;

/// A token with its keys in the rate limiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) token: Token,
    /// Whose bucket its events are taken from.
    pub(super) events: String,
    /// And its requests.
    pub(super) requests: String,
}

/// The tokens, and what those without a rate of their own may send.
#[derive(Debug)]
pub(super) struct Tokens {
    known: Vec<Known>,
    rate: u32,
    requests: u32,
}

/// What was shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown<'a> {
    Valid(&'a Known),
    /// One that was valid once.
    Ended(&'a Known, State),
    Unknown,
}

impl Tokens {
    pub(super) fn new(tokens: Vec<Token>, rate: u32, requests: u32) -> Self {
        let known = tokens.into_iter().map(|token| Known {
            events: format!("token:{}", token.name),
            requests: format!("token:{} (requests)", token.name),
            token,
        });
        Self { known: known.collect(), rate, requests }
    }

    /// Which token it is. Takes as long whichever it is, and when it is none: all
    /// are compared, as hashes, in constant time.
    pub(super) fn find(&self, shown: &[u8], now: Timestamp) -> Shown<'_> {
        let shown = digest(shown);
        let mut place = u64::MAX;
        for (index, known) in self.known.iter().enumerate() {
            let same = known.token.sha256.as_bytes().ct_eq(shown.as_bytes());
            place.conditional_assign(&(index as u64), same);
        }
        let found = usize::try_from(place).ok().and_then(|place| self.known.get(place));
        let Some(known) = found else { return Shown::Unknown };
        match known.token.state(now) {
            State::Valid => Shown::Valid(known),
            ended => Shown::Ended(known, ended),
        }
    }

    /// Why a token that was let in before would not be now; `None`: it would.
    pub(super) fn ended(&self, before: &Token, right: Right, now: Timestamp) -> Option<String> {
        let known = self.known.iter().find(|known| known.token.sha256 == before.sha256);
        let Some(Known { token, .. }) = known else { return Some("gone".to_owned()) };
        match token.state(now) {
            State::Valid if token.role.allows(right) => None,
            State::Valid => Some(format!("{} by now", token.role)),
            ended => Some(ended.as_str().to_owned()),
        }
    }

    /// What each may send, for the rate limiter.
    pub(super) fn limits(&self) -> Vec<(String, RateLimit)> {
        let limit = |per_second: u32| RateLimit {
            per_second: f64::from(per_second),
            burst: per_second.saturating_mul(BURST_SECONDS),
            ..RateLimit::default()
        };
        let both = |known: &Known| {
            [
                (known.events.clone(), limit(known.token.rate.unwrap_or(self.rate))),
                (known.requests.clone(), limit(self.requests)),
            ]
        };
        self.known.iter().flat_map(both).collect()
    }

    /// What is different from before, for the record of it.
    pub(super) fn changes_from(&self, before: Option<&Self>) -> Vec<Change> {
        let before = before.map_or(&[][..], |before| &before.known);
        let text =
            |known: Option<&Known>| known.map(|known| said(&known.token)).unwrap_or_default();
        let with = |all: &[Known], name: &str| all.iter().find(|k| k.token.name == name).cloned();
        let mut names: Vec<&String> =
            before.iter().chain(&self.known).map(|known| &known.token.name).collect();
        names.sort();
        names.dedup();
        names
            .into_iter()
            .map(|name| (name, with(before, name), with(&self.known, name)))
            .filter(|(_, from, to)| from != to)
            .map(|(name, from, to)| Change {
                key: format!("token:{name}"),
                from: text(from.as_ref()),
                to: text(to.as_ref()),
            })
            .collect()
    }
}

/// A token in a line; the hash's beginning tells one from another of its name.
fn said(token: &Token) -> String {
    let mut text = format!("{}, sha256 {:.12}", token.role, token.sha256.to_string());
    if let Some(rate) = token.rate {
        text.push_str(&format!(", {rate}/s"));
    }
    if let Some(at) = token.expires {
        text.push_str(&format!(", expires {at}"));
    }
    if let Some(at) = token.revoked {
        text.push_str(&format!(", revoked {at}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, Secret};

    fn token(name: &str, secret: &Secret) -> Token {
        Token {
            name: name.to_owned(),
            role: Role::Write,
            created: Timestamp::from_micros(0),
            expires: None,
            rate: None,
            revoked: None,
            sha256: secret.digest(),
        }
    }

    fn secret() -> Secret {
        Secret::generate().expect("randomness")
    }

    #[test]
    fn a_token_is_found_by_its_secret_wherever_it_stands() {
        let secrets = [secret(), secret(), secret()];
        let at = Timestamp::from_micros;
        let all = ["a", "b", "c"].into_iter().zip(&secrets).map(|(name, s)| token(name, s));
        let mut all: Vec<Token> = all.collect();
        all[1].expires = Some(at(5));
        all[2].revoked = Some(at(5));
        let tokens = Tokens::new(all, 1, 1);
        let found = |nth: usize, now| match tokens.find(secrets[nth].reveal().as_bytes(), at(now)) {
            Shown::Valid(known) => (known.token.name.clone(), State::Valid),
            Shown::Ended(known, state) => (known.token.name.clone(), state),
            Shown::Unknown => panic!("it is there"),
        };
        assert_eq!(found(0, 9), ("a".to_owned(), State::Valid));
        assert_eq!(found(1, 4), ("b".to_owned(), State::Valid));
        assert_eq!(found(1, 5), ("b".to_owned(), State::Expired));
        assert_eq!(found(2, 1), ("c".to_owned(), State::Revoked));
        for other in [secret().reveal().as_bytes(), b"", &secrets[0].reveal().as_bytes()[..53]] {
            assert_eq!(tokens.find(other, at(0)), Shown::Unknown);
        }
        assert_eq!(Tokens::new(Vec::new(), 1, 1).find(b"x", at(0)), Shown::Unknown);
    }

    #[test]
    fn a_token_that_was_let_in_is_judged_by_what_is_known_now() {
        let (one, two) = (secret(), secret());
        let before = token("a", &one);
        let now = Timestamp::from_micros(10);
        let ended = |after: Token, right| Tokens::new(vec![after], 1, 1).ended(&before, right, now);
        assert_eq!(ended(before.clone(), Right::Write), None);
        let expires = Some(Timestamp::from_micros(10));
        let late = ended(Token { expires, ..before.clone() }, Right::Write);
        assert_eq!(late.as_deref(), Some("expired"));
        let revoked = ended(Token { revoked: expires, ..before.clone() }, Right::Write);
        assert_eq!(revoked.as_deref(), Some("revoked"));
        let lowered = Token { role: Role::Monitor, ..before.clone() };
        assert!(ended(lowered.clone(), Right::Write).is_some());
        assert_eq!(ended(lowered, Right::Health), None);
        assert_eq!(ended(token("a", &two), Right::Write).as_deref(), Some("gone"));
    }

    #[test]
    fn a_change_names_the_token_and_no_secret() {
        let (one, two) = (secret(), secret());
        let before = Tokens::new(vec![token("a", &one), token("b", &two)], 1, 1);
        assert_eq!(before.changes_from(Some(&before)), []);
        let revoked = Token { revoked: Some(Timestamp::from_micros(7)), ..token("a", &one) };
        let after = Tokens::new(vec![revoked, token("c", &two)], 1, 1);
        let changes = after.changes_from(Some(&before));
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["token:a", "token:b", "token:c"]);
        assert!(changes[0].to.contains("revoked 1970") && !changes[0].from.contains("revoked"));
        assert!(changes[1].to.is_empty() && changes[2].from.is_empty());
        assert!(changes[2].to.starts_with("write, sha256 "), "{}", changes[2].to);
        assert_eq!(before.changes_from(None).len(), 2);
    }
}
