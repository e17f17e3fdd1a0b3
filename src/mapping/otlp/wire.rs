//! Protobuf's wire format, and the messages of OTLP in it.

use std::borrow::Cow;

use base64::Engine;

use super::{Any, Around, LogError, MAX_VALUES, Object, TOO_DEEP, TOO_MANY, bad, number};
use crate::units::hex;

/// Values inside each other, at most.
const MAX_DEPTH: usize = 64;

/// The fields of a message, in their order.
#[derive(Clone, Copy, Debug, Default)]
struct Fields<'a>(&'a [u8]);

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// What is wrong with bytes.
type Wrong = &'static str;

fn broken(what: Wrong) -> LogError {
    LogError::Broken(format!("the body is no OTLP request in protobuf: {what}"))
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Wrong> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed(self.fixed(8)?),
            5 => Value::Fixed(self.fixed(4)?),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| "a field is too long")?;
                Value::Bytes(self.take(length)?)
            }
            _ => return Err("a field has a type that there is not"),
        };
        if tag >> 3 == 0 {
            return Err("a field has no number");
        }
        Ok(Some((tag >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Wrong> {
        let cut = self.0.split_at_checked(length);
        let (taken, rest) = cut.ok_or("it ends in the middle of a field")?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed(&mut self, length: usize) -> Result<u64, Wrong> {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(self.take(length)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn varint(&mut self) -> Result<u64, Wrong> {
        let mut value = 0_u64;
        for at in 0..10 {
            let byte = u64::from(self.take(1)?[0]);
            value |= (byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has too many bytes")
    }
}

impl<'a> Value<'a> {
    fn bytes(self) -> Result<&'a [u8], Wrong> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err("a message or text is expected where a number stands"),
        }
    }

    fn text(self) -> Result<Cow<'a, str>, Wrong> {
        self.bytes().map(String::from_utf8_lossy)
    }

    fn number(self) -> Result<u64, Wrong> {
        match self {
            Self::Number(number) | Self::Fixed(number) => Ok(number),
            Self::Bytes(_) => Err("a number is expected where a text stands"),
        }
    }
}

fn any<'a>(bytes: &'a [u8], depth: usize, left: &mut usize) -> Result<Any<'a>, Wrong> {
    if depth > MAX_DEPTH {
        return Err(TOO_DEEP);
    }
    *left = left.checked_sub(1).ok_or(TOO_MANY)?;
    let mut found = Any::Nothing;
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        found = match field {
            1 => Any::Text(value.text()?),
            2 => Any::Plain(Cow::Borrowed(if value.number()? == 0 { "false" } else { "true" })),
            3 => Any::Plain(Cow::Owned(value.number()?.cast_signed().to_string())),
            4 => Any::Plain(Cow::Owned(number(f64::from_bits(value.number()?)))),
            5 => {
                let mut values = Vec::new();
                let mut inner = Fields(value.bytes()?);
                while let Some((field, value)) = inner.next()? {
                    if field == 1 {
                        values.push(any(value.bytes()?, depth + 1, left)?);
                    }
                }
                Any::Array(values)
            }
            6 => Any::Map(pairs(value.bytes()?, 1, depth + 1, left)?),
            7 => Any::Text(Cow::Owned(base64(value.bytes()?))),
            _ => continue,
        };
    }
    Ok(found)
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

type Pairs<'a> = Vec<(Cow<'a, str>, Any<'a>)>;

/// The pairs of key and value in a message's field.
fn pairs<'a>(
    bytes: &'a [u8],
    wanted: u64,
    depth: usize,
    left: &mut usize,
) -> Result<Pairs<'a>, Wrong> {
    let mut found = Vec::new();
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        if field != wanted {
            continue;
        }
        let (mut key, mut of_key) = (Cow::Borrowed(""), Any::Nothing);
        let mut pair = Fields(value.bytes()?);
        while let Some((field, value)) = pair.next()? {
            match field {
                1 => key = value.text()?,
                2 => of_key = any(value.bytes()?, depth, left)?,
                _ => {}
            }
        }
        *left = left.checked_sub(1).ok_or(TOO_MANY)?;
        found.push((key, of_key));
    }
    Ok(found)
}

/// The records of a request.
#[derive(Debug)]
pub(super) struct WireLogs<'a> {
    resources: Fields<'a>,
    scopes: Fields<'a>,
    records: Fields<'a>,
    pub(super) around: Around,
}

impl<'a> WireLogs<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        let none = Fields::default();
        Self { resources: Fields(body), scopes: none, records: none, around: Around::default() }
    }

    /// The bytes of the next record, with what is around it at hand.
    pub(super) fn raw(&mut self) -> Result<Option<&'a [u8]>, LogError> {
        loop {
            if let Some((field, value)) = self.records.next().map_err(broken)? {
                if field == 2 {
                    return value.bytes().map(Some).map_err(broken);
                }
            } else if let Some((field, value)) = self.scopes.next().map_err(broken)? {
                if field == 2 {
                    let bytes = value.bytes().map_err(broken)?;
                    self.around.scope = scope(bytes).map_err(str::to_owned);
                    self.records = Fields(bytes);
                }
            } else if let Some((field, value)) = self.resources.next().map_err(broken)? {
                if field == 1 {
                    let bytes = value.bytes().map_err(broken)?;
                    self.around.resource = resource(bytes).map_err(str::to_owned);
                    self.scopes = Fields(bytes);
                }
            } else {
                return Ok(None);
            }
        }
    }

    pub(super) fn next(&mut self, max_bytes: usize) -> Result<Option<String>, LogError> {
        let Some(bytes) = self.raw()? else { return Ok(None) };
        let (resource, scope) = self.around.fit(bytes.len(), max_bytes)?;
        let record = record(bytes).map_err(bad)?;
        Ok(Some(record.whole(resource, scope)))
    }
}

/// The resource of a `ResourceLogs`, wherever it stands in it.
fn resource(bytes: &[u8]) -> Result<String, Wrong> {
    let mut object = Object::default();
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            object = Object::default();
            object.set("attributes", &Any::Map(pairs(value.bytes()?, 1, 0, &mut { MAX_VALUES })?));
        }
    }
    Ok(object.end())
}

/// The scope of a `ScopeLogs`.
fn scope(bytes: &[u8]) -> Result<String, Wrong> {
    let mut object = Object::default();
    let mut fields = Fields(bytes);
    while let Some((field, value)) = fields.next()? {
        if field != 1 {
            continue;
        }
        object = Object::default();
        let mut inner = Fields(value.bytes()?);
        while let Some((field, value)) = inner.next()? {
            match field {
                1 => object.set("name", &Any::Text(value.text()?)),
                2 => object.set("version", &Any::Text(value.text()?)),
                _ => {}
            }
        }
        let attributes = pairs(value.bytes()?, 3, 0, &mut { MAX_VALUES })?;
        if !attributes.is_empty() {
            object.set("attributes", &Any::Map(attributes));
        }
    }
    Ok(object.end())
}

fn record(bytes: &[u8]) -> Result<Object, Wrong> {
    let mut left = MAX_VALUES;
    let mut object = Object::default();
    let mut fields = Fields(bytes);
    let quoted =
        |value: Value<'_>| value.number().map(|number| Any::Text(Cow::Owned(number.to_string())));
    let plain =
        |value: Value<'_>| value.number().map(|number| Any::Plain(Cow::Owned(number.to_string())));
    let id = |value: Value<'_>| value.bytes().map(|bytes| Any::Text(Cow::Owned(hex(bytes))));
    // The last of a field counts, as everywhere in protobuf.
    let mut found: [(&str, Any<'_>); 10] = [
        "timeUnixNano",
        "observedTimeUnixNano",
        "severityNumber",
        "severityText",
        "eventName",
        "body",
        "droppedAttributesCount",
        "flags",
        "traceId",
        "spanId",
    ]
    .map(|key| (key, Any::Nothing));
    while let Some((field, value)) = fields.next()? {
        let (at, value) = match field {
            1 => (0, quoted(value)?),
            11 => (1, quoted(value)?),
            2 => (2, plain(value)?),
            3 => (3, Any::Text(value.text()?)),
            12 => (4, Any::Text(value.text()?)),
            5 => (5, any(value.bytes()?, 0, &mut left)?),
            7 => (6, plain(value)?),
            8 => (7, plain(value)?),
            9 => (8, id(value)?),
            10 => (9, id(value)?),
            _ => continue,
        };
        found[at].1 = value;
    }
    for (key, value) in &found {
        object.set(key, value);
    }
    object.set("attributes", &Any::Map(pairs(bytes, 6, 0, &mut left)?));
    Ok(object)
}

pub(super) fn put_varint(out: &mut Vec<u8>, field: u64, value: u64) {
    put(out, field << 3);
    put(out, value);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put(out, field << 3 | 2);
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
