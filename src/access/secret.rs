//! The secret that a token's holder shows.
//!
//! `actl_`, 43 random characters, 6 characters of checksum; all of them digits and
//! letters. The prefix lets secret scanners find one that was checked in by
//! mistake (`actl_[0-9A-Za-z]{49}`), the checksum tells them and us a mistyped one.
//! 43 characters of 62 hold 256 bits: nobody guesses that however fast a guess is
//! tried, so a plain SHA-256 of it is what is stored, and no slow hash is needed
//! as for a password.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::audit::tree::merkle::Hash;

const PREFIX: &str = "actl_";
/// 62^43 > 2^256.
const RANDOM_CHARS: usize = 43;
/// 62^6 > 2^32.
const CHECKSUM_CHARS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token's secret. Shown by [`reveal`](Self::reveal) alone.
pub struct Secret(String);

impl Secret {
    /// A new one, of the system's randomness.
    ///
    /// # Errors
    /// When the system has none.
    pub fn generate() -> std::io::Result<Self> {
        let mut text = PREFIX.to_owned();
        let mut random = [0; 64];
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            getrandom::fill(&mut random)
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            // The highest bytes would make some digits likelier than others.
            let fair = random.iter().filter(|byte| **byte < 248);
            let room = PREFIX.len() + RANDOM_CHARS - text.len();
            text.extend(fair.take(room).map(|byte| char::from(DIGITS[usize::from(byte % 62)])));
        }
        let sum = checksum(text.as_bytes());
        text.extend(sum.map(char::from));
        Ok(Self(text))
    }

    /// The text, to be handed to its holder.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self) -> Hash {
        digest(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is stored of a secret: its SHA-256, of equal length whatever is shown.
#[must_use]
pub fn digest(shown: &[u8]) -> Hash {
    Hash::from_bytes(Sha256::digest(shown).into())
}

/// Whether it is one of ours by its look; false when it was mistyped or cut off.
#[must_use]
pub fn is_well_formed(shown: &[u8]) -> bool {
    shown.len() == PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS
        && shown.starts_with(PREFIX.as_bytes())
        && shown.split_last_chunk().is_some_and(|(text, sum)| checksum(text) == *sum)
}

/// CRC-32 (ISO-HDLC), in six digits.
fn checksum(text: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, text);
    let mut digits = [DIGITS[0]; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_random_and_of_letters_and_digits() {
        let secrets: Vec<Secret> =
            (0..100).map(|_| Secret::generate().expect("randomness")).collect();
        for secret in &secrets {
            let text = secret.reveal();
            assert_eq!(text.len(), 54);
            let rest = text.strip_prefix("actl_").expect("the prefix");
            assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
            assert!(is_well_formed(text.as_bytes()));
            assert_eq!(format!("{secret:?}"), "Secret(…)");
        }
        let different: std::collections::BTreeSet<&str> =
            secrets.iter().map(Secret::reveal).collect();
        assert_eq!(different.len(), secrets.len());
        let digits: std::collections::BTreeSet<u8> =
            different.iter().flat_map(|text| text.bytes().skip(5).take(RANDOM_CHARS)).collect();
        assert_eq!(digits.len(), 62, "every digit is used");
    }

    #[test]
    fn a_mistyped_or_cut_secret_is_told() {
        let secret = Secret::generate().expect("randomness");
        let text = secret.reveal().as_bytes();
        for place in 0..text.len() {
            let mut other = text.to_vec();
            other[place] = if other[place] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(&other), "{place}");
            assert!(!is_well_formed(&text[..place]), "{place}");
        }
        assert!(!is_well_formed(&[text, b"0"].concat()));
    }

    /// Fixed for ever: tokens outlive versions.
    #[test]
    fn the_format_is_the_documented_one() {
        let text = "actl_0000000000000000000000000000000000000000000";
        let sum = String::from_utf8(checksum(text.as_bytes()).to_vec()).expect("digits");
        let secret = format!("{text}{sum}");
        assert!(is_well_formed(secret.as_bytes()));
        assert_eq!(
            digest(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(sum, "2h7654");
    }
}
