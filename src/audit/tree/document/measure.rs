//! How much of a file is members that this version does not know: what is kept of them is
//! held in memory, many times as large as it stands there, before any signature is looked
//! at.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::DocumentError;

/// So many values a file may have that are not known, wherever they stand,
const MAX_VALUES: u64 = 4_096;
/// and so many more for each object that is known.
const VALUES_AN_OBJECT: u64 = 16;
/// A text counts as a value for each of so many bytes.
const BYTES_A_VALUE: u64 = 256;

/// Refuses a file with more members that are not among these names than any later version
/// would add.
///
/// # Errors
/// [`DocumentError::Malformed`].
pub(crate) fn check_unknown(bytes: &[u8], names: &[&str]) -> Result<(), DocumentError> {
    let mut left = MAX_VALUES;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Measure { names, left: &mut left, known: true }
        .deserialize(&mut reader)
        .map_err(DocumentError::malformed)
}

struct Measure<'a> {
    names: &'a [&'a str],
    left: &'a mut u64,
    known: bool,
}

impl Measure<'_> {
    fn count<E: Error>(self, values: u64) -> Result<(), E> {
        if self.known {
            return Ok(());
        }
        *self.left = self
            .left
            .checked_sub(values)
            .ok_or_else(|| E::custom("it has too much that this version does not know"))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Measure<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Measure<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.count(1)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.count(1)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.count(1)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.count(1)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.count(1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.count(1 + text.len() as u64 / BYTES_A_VALUE)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { names, left, known } = self;
        Measure { names, left, known }.count(1)?;
        while items.next_element_seed(Measure { names, left, known })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { names, left, known } = self;
        if known {
            *left = left.saturating_add(VALUES_AN_OBJECT);
        }
        Measure { names, left, known }.count(1)?;
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            let known = known && names.contains(&&*name);
            Measure { names, left, known }.count(name.len() as u64 / BYTES_A_VALUE)?;
            members.next_value_seed(Measure { names, left, known })?;
        }
        Ok(())
    }
}
