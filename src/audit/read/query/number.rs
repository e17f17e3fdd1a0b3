//! JSON numbers by their value, however long they are: nothing is rounded, and an
//! exponent of a million digits costs no more than reading it.

use std::borrow::Cow;
use std::cmp::Ordering;

/// ±0.d₁d₂d₃… × 10^exponent, where d₁ is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal<'a> {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: Cow<'a, [u8]>,
    exponent: Exponent,
}

/// A whole number of any size, in one form each.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exponent {
    /// Below 10^36, either way.
    Small(i128),
    /// From there on; its digits.
    Big { negative: bool, digits: Vec<u8> },
}

/// What `Exponent::Small` has fewer or as many digits as.
const SMALL_DIGITS: usize = 36;

impl<'a> Decimal<'a> {
    /// Reads a JSON number; `None` for what is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, written) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = written.strip_prefix(['+', '-']).unwrap_or(written);
        if whole.is_empty()
            || unsigned.is_empty()
            || ![whole, fraction, unsigned].map(are_digits).iter().all(|ok| *ok)
        {
            return None;
        }
        let digits: Cow<'a, [u8]> = match (whole, fraction) {
            (whole, "") => Cow::Borrowed(whole.as_bytes()),
            ("0", fraction) => Cow::Borrowed(fraction.as_bytes()),
            (whole, fraction) => Cow::Owned([whole.as_bytes(), fraction.as_bytes()].concat()),
        };
        let all = digits.len();
        let digits = trim_start(digits);
        if digits.is_empty() {
            let exponent = Exponent::Small(0);
            return Some(Self { negative: false, digits, exponent });
        }
        // Where the point is, counted from the first digit that is not 0.
        let zeros = (all - digits.len()) as i64;
        let point = if whole == "0" && !fraction.is_empty() { 0 } else { whole.len() as i64 };
        let exponent = Exponent::sum(written, point - zeros);
        Some(Self { negative, digits: trim_end(digits), exponent })
    }

    /// Detached from the text.
    pub(super) fn into_owned(self) -> Decimal<'static> {
        Decimal {
            negative: self.negative,
            digits: Cow::Owned(self.digits.into_owned()),
            exponent: self.exponent,
        }
    }

    /// A text that all spellings of the same number share.
    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.digits.len() + 8);
        if self.negative {
            key.push(b'-');
        }
        key.extend_from_slice(&self.digits);
        key.push(b'e');
        match &self.exponent {
            Exponent::Small(value) => key.extend_from_slice(value.to_string().as_bytes()),
            Exponent::Big { negative, digits } => {
                key.extend_from_slice(if *negative { b"-" } else { b"" });
                key.extend_from_slice(digits);
            }
        }
        key
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.sign().cmp(&other.sign());
        if signs.is_ne() || self.sign() == 0 {
            return signs;
        }
        // Digits that begin with the same ones and go on are the larger number.
        let sizes = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        if self.negative { sizes.reverse() } else { sizes }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Exponent {
    /// What is written, `+5` or `-5`, and a little.
    fn sum(written: &str, little: i64) -> Self {
        let negative = written.starts_with('-');
        let digits = written.trim_start_matches(['+', '-']).trim_start_matches('0').as_bytes();
        if digits.len() <= SMALL_DIGITS {
            let value = value_of(digits) * if negative { -1 } else { 1 } + i128::from(little);
            let text = value.unsigned_abs().to_string().into_bytes();
            return Self::new(value < 0, text);
        }
        // Too large for the sum to change its sign.
        let mut digits = digits.to_vec();
        let mut carry = if negative { -i128::from(little) } else { i128::from(little) };
        for digit in digits.iter_mut().rev() {
            if carry == 0 {
                break;
            }
            let sum = i128::from(*digit - b'0') + carry;
            *digit = b'0' + sum.rem_euclid(10) as u8;
            carry = sum.div_euclid(10);
        }
        if carry > 0 {
            digits.splice(0..0, carry.to_string().into_bytes());
        }
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.drain(..zeros);
        Self::new(negative, digits)
    }

    fn new(negative: bool, digits: Vec<u8>) -> Self {
        if digits.len() <= SMALL_DIGITS {
            let value = value_of(&digits);
            Self::Small(if negative { -value } else { value })
        } else {
            Self::Big { negative, digits }
        }
    }
}

impl Ord for Exponent {
    fn cmp(&self, other: &Self) -> Ordering {
        let side = |exponent: &Self| match exponent {
            Self::Small(_) => 0,
            Self::Big { negative: true, .. } => -1,
            Self::Big { negative: false, .. } => 1,
        };
        match (self, other) {
            (Self::Small(one), Self::Small(two)) => one.cmp(two),
            (
                Self::Big { negative: one, digits: first },
                Self::Big { negative: two, digits: second },
            ) if one == two => {
                let sizes = first.len().cmp(&second.len()).then_with(|| first.cmp(second));
                if *one { sizes.reverse() } else { sizes }
            }
            _ => side(self).cmp(&side(other)),
        }
    }
}

impl PartialOrd for Exponent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The value of at most 36 digits.
fn value_of(digits: &[u8]) -> i128 {
    digits.iter().fold(0, |value, digit| value * 10 + i128::from(digit - b'0'))
}

fn trim_start(digits: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    match digits {
        Cow::Borrowed(digits) => Cow::Borrowed(&digits[zeros..]),
        Cow::Owned(mut digits) => {
            digits.drain(..zeros);
            Cow::Owned(digits)
        }
    }
}

fn trim_end(digits: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    match digits {
        Cow::Borrowed(digits) => Cow::Borrowed(&digits[..digits.len() - zeros]),
        Cow::Owned(mut digits) => {
            digits.truncate(digits.len() - zeros);
            Cow::Owned(digits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Decimal<'_> {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    /// C4: numbers of any length, in their order; equal ones in one line.
    #[test]
    fn numbers_are_compared_by_value_whatever_their_length_and_exponent() {
        let long = format!("1e{}", "9".repeat(50));
        let longer = format!("10e{}", "9".repeat(50));
        let same_as_longer = format!("1e1{}", "0".repeat(50));
        let tiny = format!("1e-{}", "9".repeat(50));
        let ordered: &[&[&str]] = &[
            &["-1e999999999"],
            &["-2"],
            &["-1.5", "-15e-1", "-0.15e1"],
            &["-1e-999999999"],
            &["0", "-0", "0.000", "0e999999999", "-0.0e-5"],
            &[&tiny],
            &["1e-999999999", "0.1e-999999998"],
            &["0.05", "5e-2", "0.5E-1"],
            &["1.1", "1.10", "11e-1", "0.0011e3"],
            &["5", "5.0", "0.5e1", "500e-2"],
            &["18446744073709551617"],
            &["18446744073709551618", "18446744073709551618.000"],
            &["9007199254740993000000", "9007199254740993e6"],
            &["1e999999999", "10e999999998"],
            &[&long],
            &[&longer, &same_as_longer],
        ];
        for (at, one) in ordered.iter().enumerate() {
            for (other_at, other) in ordered.iter().enumerate() {
                for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (a, b))) {
                    let (x, y) = (number(a), number(b));
                    assert_eq!(x.cmp(&y), at.cmp(&other_at), "{a} and {b}");
                    assert_eq!(x.key() == y.key(), at == other_at, "{a} and {b}");
                }
            }
        }
        for none in ["", "-", "1.5.2", "abc", "1e", "1e+", "+1", ".5"] {
            assert_eq!(Decimal::parse(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn small_numbers_are_ordered_as_integers_of_the_same_scale_are(
            a in -9_999_i64..9_999, b in -9_999_i64..9_999, scale in 0_usize..6, zeros in 0_usize..3,
        ) {
            let spelled = |n: i64| {
                let digits = format!("{:0>7}", n.unsigned_abs());
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                let whole = whole.trim_start_matches('0');
                let whole = if whole.is_empty() { "0" } else { whole };
                let point = if fraction.is_empty() { "" } else { "." };
                let sign = if n < 0 { "-" } else { "" };
                let zeros = if fraction.is_empty() { "" } else { &"000"[..zeros] };
                format!("{sign}{whole}{point}{fraction}{zeros}")
            };
            let (x, y) = (spelled(a), spelled(b));
            prop_assert_eq!(number(&x).cmp(&number(&y)), a.cmp(&b), "{} {}", x, y);
            let exponent = format!("{b}e-{scale}");
            prop_assert_eq!(number(&x).cmp(&number(&exponent)), a.cmp(&b), "{} {}", x, exponent);
        }
    }
}
