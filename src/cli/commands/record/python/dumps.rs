//! Python's `json.dumps(value, sort_keys=True)`: what the utilities' signatures are
//! made over. Keys in the order of their code points, `", "` and `": "` between,
//! ASCII alone, numbers as Python's `repr` has them.

use super::json::{Json, Text};

/// Appends the text that Python would write.
pub(super) fn dumps(value: &Json<'_>, out: &mut Vec<u8>) {
    match value {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        // Python has one zero among its integers.
        Json::Int("-0") => out.push(b'0'),
        Json::Int(digits) => out.extend_from_slice(digits.as_bytes()),
        Json::Float(text) => out.extend_from_slice(float(text).as_bytes()),
        Json::Constant(name) => out.extend_from_slice(name.as_bytes()),
        Json::Text(text) => string(text, out),
        Json::Array(items) => {
            out.push(b'[');
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    out.extend_from_slice(b", ");
                }
                dumps(item, out);
            }
            out.push(b']');
        }
        Json::Object(members) => object(members, None, out),
    }
}

/// The same of an object, without one of its keys.
pub(super) fn object(members: &[(Text<'_>, Json<'_>)], without: Option<&str>, out: &mut Vec<u8>) {
    let mut sorted: Vec<_> =
        members.iter().filter(|(key, _)| without.is_none() || key.plain() != without).collect();
    // Stable: of a key that is there twice the last one comes last, and counts.
    sorted.sort_by(|(a, _), (b, _)| a.order(b));
    out.push(b'{');
    let mut begun = false;
    for (nth, (key, value)) in sorted.iter().enumerate() {
        if sorted.get(nth + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if std::mem::replace(&mut begun, true) {
            out.extend_from_slice(b", ");
        }
        string(key, out);
        out.extend_from_slice(b": ");
        dumps(value, out);
    }
    out.push(b'}');
}

fn string(text: &Text<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    for point in text.code_points() {
        match point {
            0x22 => out.extend_from_slice(b"\\\""),
            0x5c => out.extend_from_slice(b"\\\\"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0d => out.extend_from_slice(b"\\r"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(point as u8),
            0..=0xffff => out.extend_from_slice(format!("\\u{point:04x}").as_bytes()),
            beyond => {
                let beyond = beyond - 0x10000;
                let (high, low) = (0xd800 + (beyond >> 10), 0xdc00 + (beyond & 0x3ff));
                out.extend_from_slice(format!("\\u{high:04x}\\u{low:04x}").as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// `repr(float(text))`: the shortest digits that read back as the same number; with
/// an exponent from 1e16 on and below 1e-4.
fn float(text: &str) -> String {
    let value: f64 = text.parse().unwrap_or(f64::NAN);
    if !value.is_finite() {
        let name = if value > 0.0 { "Infinity" } else { "-Infinity" };
        return if value.is_nan() { "NaN" } else { name }.to_owned();
    }
    // Also the shortest digits: `-1.25e-7`. Of two that are as near, Python takes the
    // even one, as rounding to that many digits does.
    let shortest = format!("{value:e}");
    let places = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit);
    let rounded = format!("{value:.*e}", places.count() - 1);
    let scientific = if rounded.parse() == Ok(value) { rounded } else { shortest };
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    plain(mantissa, exponent)
}

/// `1.25` and 3 as `1250.0`.
fn plain(mantissa: &str, exponent: i32) -> String {
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let Ok(before) = usize::try_from(exponent + 1) else {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1).unsigned_abs() as usize));
    };
    match digits.split_at_checked(before) {
        Some(("", after)) => format!("{sign}0.{after}"),
        Some((before, "")) => format!("{sign}{before}.0"),
        Some((before, after)) => format!("{sign}{before}.{after}"),
        None => format!("{sign}{digits}{}.0", "0".repeat(before - digits.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    #[test]
    fn it_is_what_python_writes() {
        for (json, python) in [
            (r#"{"b":1,"a":[true,null,"x"]}"#, r#"{"a": [true, null, "x"], "b": 1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            ("[]", "[]"),
            ("{}", "{}"),
            (r#"["\u007f\u0000\n\/ä😀"]"#, r#"["\u007f\u0000\n/\u00e4\ud83d\ude00"]"#),
            (r#""\uD800""#, r#""\ud800""#),
            (r#"{"\uffff":1,"😀":2}"#, r#"{"\uffff": 1, "\ud83d\ude00": 2}"#),
            (
                "[1e16,1e15,1e-5,1e-4,0.1,-0.0,-0,1E5,1.50]",
                "[1e+16, 1000000000000000.0, 1e-05, 0.0001, 0.1, -0.0, 0, 100000.0, 1.5]",
            ),
            (
                "[95506176399426.62,-0.5,123.456,0.000123,100.0]",
                "[95506176399426.62, -0.5, 123.456, 0.000123, 100.0]",
            ),
            (
                "[1e400,-1e400,NaN,Infinity,-Infinity]",
                "[Infinity, -Infinity, NaN, Infinity, -Infinity]",
            ),
            (
                "[5e-324,1.7976931348623157e308,9007199254740993.0,123456789012345678901234567890]",
                "[5e-324, 1.7976931348623157e+308, 9007199254740992.0, 123456789012345678901234567890]",
            ),
        ] {
            let mut out = Vec::new();
            dumps(&parse(json).expect(json), &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), python, "{json}");
        }
    }
}
